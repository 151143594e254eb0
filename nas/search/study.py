"""One target's search: ask the sampler, look up the latency, ask the proxy, keep the trial."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import isfinite

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, create_trial

from nas.arch import Arch
from nas.errors import NasError, NetworkError, shown
from nas.latency.table import LatencyTable
from nas.objective import pareto_front
from nas.search.journal import Journal
from nas.search.records import STATES, Evaluation, Finished, Proxy, Target, Trainer

MAX_FAILED = 4
"""Networks in a row that may fail; with the next one the search ends."""


@dataclass(kw_only=True)
class TargetSearch:
    """The state of one study, continued from the journal.

    `winner` is the most accurate network so far that meets the target. A `pruner` watches the
    networks that the proxy trains, by their objective after each epoch, and stops the hopeless;
    such a trial counts, but is neither winner nor in the front, and so does one that fails.
    """

    target: Target
    table: LatencyTable
    proxy: Proxy
    journal: Journal
    make_sampler: Callable[[int], BaseSampler]
    sampler_name: str
    pruner: BasePruner | None = None
    finished: list[Finished] = field(default_factory=list)
    winner: Finished | None = field(default=None, init=False)
    _known: dict[str, Evaluation] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        directions = self.target.objective.directions
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values)
            for name, values in self.target.space.choices.items()
        }
        past = self.journal.trials(self.target.name, directions)
        for trial in past:
            self._keep(Finished.of(trial, len(self.finished)))
        # A sampler that starts again from its seed would draw the trials that are already there.
        sampler = self.make_sampler(len(past))
        self._study = optuna.create_study(
            directions=list(directions), sampler=sampler, pruner=self.pruner
        )
        try:
            self._study.add_trials(map(_without_figures, past))
        except Exception as error:  # Optuna trusts every field of a journal
            raise NasError(
                f"the journal's trials are not those of {self.target.name}: {shown(error)}. Start "
                "a new run folder."
            ) from error

    @property
    def n_left(self) -> int:
        """Return how many trials are still to run."""
        return max(0, self.target.n_trials - len(self.finished))

    @property
    def n_networks(self) -> int:
        """Return how many different networks were evaluated."""
        return len(self._known)

    @property
    def whole(self) -> list[Finished]:
        """Return the trials that were not pruned."""
        return [one for one in self.finished if one.evaluation.is_whole]

    @property
    def best(self) -> Finished | None:
        """Return the trial with the best first value, of those that keep the objective's limit."""
        objective, target_ms = self.target.objective, self.target.target_ms
        keeping = [
            one
            for one in self.whole
            if (objective.violation(one.evaluation.ms, target_ms) or 0) <= 0
        ]
        return max(keeping, key=lambda one: one.values[0], default=None)

    def start_from(self, arch: Arch) -> None:
        """Let the first trial of a new study be the network of the space nearest to `arch`.

        A space without a network of the same stages starts as the sampler likes.
        """
        if not self.finished:
            with suppress(NasError):
                self._study.enqueue_trial(self.target.space.nearest(arch))

    def run(self) -> Iterator[Finished]:
        """Run the trials that are left; each is in the journal when it is yielded."""
        while self.n_left:
            yield self._run_one()

    def named_arch(self, finished: Finished, name: str) -> Arch:
        """Return the network of a trial under a name of its own."""
        return replace(self.target.space.arch(finished.choices), name=name)

    def front(self) -> list[Finished]:
        """Return the Pareto front of the whole trials, by rising ms."""
        whole = self.whole
        ms = [one.evaluation.ms for one in whole]
        top1 = [self._cautious_top1(one) for one in whole]
        return [whole[index] for index in pareto_front(ms, top1)]

    def _run_one(self) -> Finished:
        started = datetime.now(UTC)
        trial = self._ask()
        choices = trial.params
        arch = self.target.space.arch(choices)
        key = arch.key()
        begun = time.perf_counter()
        is_new = key not in self._known
        evaluation = self._judged(arch, key, trial) if is_new else self._known[key]
        seconds = round(time.perf_counter() - begun, 6)
        objective, target_ms = self.target.objective, self.target.target_ms
        violation = objective.violation(evaluation.ms, target_ms)
        if violation is not None:
            trial.set_constraint("target_ms", violation)
        values = self._values(evaluation) if evaluation.is_whole else ()
        told = self._study.tell(trial, list(values) or None, state=STATES[evaluation.state])
        finished = Finished(
            number=len(self.finished),
            choices=choices,
            values=values,
            evaluation=evaluation,
            is_new=is_new,
            seconds=seconds,
            reports=told.intermediate_values,
        )
        self.journal.add(self.target.name, told, finished.attributes(), started)
        self._keep(finished)
        return finished

    def _values(self, evaluation: Evaluation) -> tuple[float, ...]:
        top1 = evaluation.cautious_top1(self.target.risk)
        return self.target.objective.values(top1, evaluation.ms, self.target.target_ms)

    def _ask(self) -> Trial:
        try:
            return self._study.ask(self._distributions)
        except TypeError as error:  # some samplers compare their options only here
            raise NasError(
                f"sampler {self.sampler_name} fails: {error}. Correct its sampler.*= options."
            ) from error

    def _judged(self, arch: Arch, key: str, trial: Trial) -> Evaluation:
        try:
            return self._evaluate(arch, key, trial)
        except NetworkError:
            before = [one.evaluation.state for one in self.finished[-MAX_FAILED:]]
            if before == ["failed"] * MAX_FAILED:
                raise  # It is not the network.
            ms = self.table.predict_ms(arch)
            return Evaluation(key=key, ms=ms, top1=0.0, top1_std=0.0, state="failed")

    def _evaluate(self, arch: Arch, key: str, trial: Trial) -> Evaluation:
        ms = self.table.predict_ms(arch)
        if self.pruner is None or not isinstance(self.proxy, Trainer):
            means, stds = self.proxy.predict([arch])
            return _checked(
                Evaluation(key=key, ms=ms, top1=float(means[0]), top1_std=float(stds[0]))
            )
        last = Evaluation(key=key, ms=ms, top1=0.0, top1_std=0.0, state="pruned")

        def is_hopeless(epoch: int, top1: float) -> bool:
            nonlocal last
            last = replace(last, top1=top1)
            (value,) = self.target.objective.values(top1, ms, self.target.target_ms)
            trial.report(value, epoch)
            return trial.should_prune()

        found = self.proxy.evaluate(arch, is_hopeless)
        return _checked(last if found is None else _whole(last, *found))

    def _keep(self, finished: Finished) -> None:
        self.finished.append(finished)
        evaluation = finished.evaluation
        if not evaluation.is_whole:
            return
        self._known.setdefault(evaluation.key, evaluation)
        if evaluation.ms <= self.target.target_ms and (
            self.winner is None or self._cautious_top1(finished) > self._cautious_top1(self.winner)
        ):
            self.winner = finished

    def _cautious_top1(self, finished: Finished) -> float:
        return finished.evaluation.cautious_top1(self.target.risk)


def _whole(last: Evaluation, top1: float, top1_std: float) -> Evaluation:
    return replace(last, top1=float(top1), top1_std=float(top1_std), state="complete")


def _checked(evaluation: Evaluation) -> Evaluation:
    top1, std = evaluation.top1, evaluation.top1_std
    if not (isfinite(top1) and isfinite(std) and std >= 0):
        raise NasError(
            f"a proxy must give a finite top-1 and deviation, but gave {top1} and {std} for "
            f"network {evaluation.key}. Check the proxy."
        )
    return evaluation


def _without_figures(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=trial.state,
        values=trial.values,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )
