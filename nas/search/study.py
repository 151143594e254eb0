"""One target's search: ask the sampler, look up the latency, ask the proxy, keep the trial."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, create_trial

from nas.arch import Arch
from nas.errors import NasError, shown
from nas.latency.table import LatencyTable
from nas.objective import pareto_front
from nas.search.asking import ask, memory
from nas.search.choices import Catalogue
from nas.search.distributions import categorical, lasting
from nas.search.records import NO_REPORTS, STATES, Evaluation, Finished, Proxy, Target, Trainer
from nas.search.storage import Storage
from nas.workers.contract import Ended, Failure, Workers
from nas.workers.jobs import Judging, judge
from nas.workers.local import LocalWorkers

MAX_FAILED = 4
"""Networks in a row that may fail; with the next one the search ends."""


@dataclass(kw_only=True)
class TargetSearch:
    """The state of one study, continued from what is stored of it.

    `winner` is the most accurate network so far that meets the target. A `pruner` watches the
    networks that the proxy trains, by their objective after each epoch, and stops the hopeless;
    such a trial counts, but is neither winner nor in the front, and so does one that fails.

    The `workers` do the judging, `nas.workers.jobs.Judging`; without any, `proxy` does it here.
    """

    target: Target
    table: LatencyTable
    proxy: Proxy
    storage: Storage
    make_sampler: Callable[[int], BaseSampler]
    sampler_name: str
    pruner: BasePruner | None = None
    workers: Workers | None = None
    finished: list[Finished] = field(default_factory=list)
    winner: Finished | None = field(default=None, init=False)
    _known: dict[str, Evaluation] = field(default_factory=dict, init=False)
    _jobs: dict[int, "_Asked"] = field(default_factory=dict, init=False)
    _waiting: dict[str, list["_Asked"]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        directions = self.target.objective.directions
        self._crew = self.workers or LocalWorkers(partial(judge, self.proxy))
        self._catalogue = Catalogue(self.target.space.choices)
        self._plain = categorical(self.target.space.choices)
        self._distributions = lasting(self._plain)
        self._memory = memory(self._catalogue, self._distributions)
        past = self.storage.trials(self.target.name, directions)
        for trial in past:
            self._keep(Finished.of(trial, trial.number, self._catalogue.kept))
        # A sampler that starts again from its seed would draw the trials that are already there.
        sampler = self.make_sampler(len(past))
        self._study = optuna.create_study(
            storage=self._memory, directions=list(directions), sampler=sampler, pruner=self.pruner
        )
        try:
            self._study.add_trials(map(_without_figures, past))
        except Exception as error:  # Optuna trusts every field that was stored
            raise NasError(
                f"the stored trials are not those of {self.target.name}: {shown(error)}. Start a "
                "new run folder."
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
        """Run the trials that are left; each is stored when it is yielded.

        As many networks are judged at a time as there are workers, and no two equal ones: a trial
        whose network is being judged waits for the answer. What other commands have finished of a
        shared study comes between.
        """
        while True:
            yield from self.hear()
            if self._has_room():
                asked = self._ask()
                if asked.key in self._known:
                    yield self._finish(asked, self._known[asked.key])
                elif asked.key in self._waiting:
                    self._waiting[asked.key].append(asked)
                else:
                    self._submit(asked)
            elif self._jobs:
                for ended in self._crew.ended():
                    yield from self._conclude(self._jobs.pop(ended.number), ended)
            else:
                return

    def hear(self) -> list[Finished]:
        """Take over what other commands have finished, and tell the sampler of it."""
        news = self.storage.news(self.target.name)
        heard = [Finished.of(trial, trial.number, self._catalogue.kept) for trial in news]
        self._study.add_trials(map(_without_figures, news))
        for finished in heard:
            self._keep(finished)
        return heard

    def named_arch(self, finished: Finished, name: str) -> Arch:
        """Return the network of a trial under a name of its own."""
        return replace(self.target.space.arch(finished.choices), name=name)

    def front(self) -> list[Finished]:
        """Return the Pareto front of the whole trials, by rising ms."""
        whole = self.whole
        ms = [one.evaluation.ms for one in whole]
        top1 = [self._cautious_top1(one) for one in whole]
        return [whole[index] for index in pareto_front(ms, top1)]

    def _has_room(self) -> bool:
        if len(self._jobs) >= self._crew.n:
            return False
        n_waiting = sum(map(len, self._waiting.values()))
        n_most = min(self.n_left, 2 * self._crew.n)  # of a space with few networks, all may wait
        return len(self._jobs) + n_waiting < n_most

    def _ask(self) -> "_Asked":
        started = datetime.now(UTC)
        try:
            trial, choices = ask(self._study, self._memory, self._distributions)
        except TypeError as error:  # some samplers compare their options only here
            raise NasError(
                f"sampler {self.sampler_name} fails: {error}. Correct its sampler.*= options."
            ) from error
        arch = self.target.space.arch(choices)
        ms = self.table.predict_ms(arch)
        return _Asked(
            trial=trial, choices=choices, arch=arch, key=arch.key(), ms=ms, started=started
        )

    def _submit(self, asked: "_Asked") -> None:
        is_watched = self.pruner is not None and isinstance(self.proxy, Trainer)
        job = Judging(arch=asked.arch, is_watched=is_watched)
        number = self._crew.submit(job, partial(self._is_hopeless, asked))
        self._jobs[number] = asked
        self._waiting.setdefault(asked.key, [])

    def _is_hopeless(self, asked: "_Asked", report: tuple[int, float]) -> bool:
        """Hear of an epoch, and tell whether the training is to be stopped."""
        epoch, top1 = report
        if epoch <= asked.n_epochs:  # heard before, of a worker that was lost
            return False
        asked.n_epochs, asked.top1 = epoch, top1
        if not isfinite(top1):
            return True
        (value,) = self.target.objective.values(top1, asked.ms, self.target.target_ms)
        asked.trial.report(value, epoch)
        return asked.trial.should_prune()

    def _conclude(self, asked: "_Asked", ended: Ended) -> list[Finished]:
        evaluation = self._evaluation(asked, ended)
        finished = [self._finish(asked, evaluation, ended)]
        waiting = self._waiting.pop(asked.key)
        if evaluation.is_whole:
            finished += [self._finish(twin, evaluation) for twin in waiting]
        elif waiting:  # it said nothing of the network that the next one could go by
            self._submit(waiting[0])
            self._waiting[asked.key] += waiting[1:]
        return finished

    def _evaluation(self, asked: "_Asked", ended: Ended) -> Evaluation:
        state, top1, std = "pruned", asked.top1, 0.0
        failure = ended.failure
        if failure is None and ended.value is not None:
            state, (top1, std) = "complete", ended.value
        if failure is None and not (isfinite(top1) and isfinite(std) and std >= 0):
            failure = Failure(
                kind="network",
                reason="a proxy must give a finite top-1 and deviation, but gave "
                f"{top1} and {std} for network {asked.key}. Check the proxy.",
            )
        reason = ""
        if failure is not None:
            state, top1, std, reason = "failed", 0.0, 0.0, failure.reason
            before = [one.evaluation.state for one in self.finished[-MAX_FAILED:]]
            if failure.kind == "options" or before == ["failed"] * MAX_FAILED:
                raise failure.error()  # It is not the network.
        return Evaluation(
            key=asked.key, ms=asked.ms, top1=top1, top1_std=std, state=state, reason=reason
        )

    def _finish(
        self, asked: "_Asked", evaluation: Evaluation, ended: Ended | None = None
    ) -> Finished:
        """Tell the sampler and the journal; without `ended`, of a network that was known."""
        objective, target_ms = self.target.objective, self.target.target_ms
        violation = objective.violation(evaluation.ms, target_ms)
        if violation is not None:
            asked.trial.set_constraint("target_ms", violation)
        values = self._values(evaluation) if evaluation.is_whole else ()
        state = STATES[evaluation.state]
        told = self._study.tell(asked.trial, list(values) or None, state=state)
        told.distributions = self._plain
        finished = Finished(
            number=len(self.finished),
            choices=self._catalogue.kept(asked.choices),
            values=values,
            evaluation=evaluation,
            is_new=ended is not None,
            seconds=ended.seconds if ended else 0.0,
            reports=told.intermediate_values or NO_REPORTS,
        )
        number = self.storage.add(self.target.name, told, finished.attributes(), asked.started)
        finished = replace(finished, number=number)
        self._keep(finished)
        return finished

    def _values(self, evaluation: Evaluation) -> tuple[float, ...]:
        top1 = evaluation.cautious_top1(self.target.risk)
        return self.target.objective.values(top1, evaluation.ms, self.target.target_ms)

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


@dataclass(kw_only=True)
class _Asked:
    """A trial under way: what the sampler chose, and the last epoch that was heard of."""

    trial: Trial
    choices: dict[str, Any]
    arch: Arch
    key: str
    ms: float
    started: datetime
    n_epochs: int = 0
    top1: float = 0.0


def _without_figures(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=trial.state,
        values=trial.values,
        params=trial.params,
        distributions=lasting(trial.distributions),
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )
