"""A target's search: what it counts, keeps and repeats."""

import copy
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from nas.arch import Arch
from nas.cost import count_macs
from nas.errors import NasError, NetworkError
from nas.latency.table import LatencyTable, Row
from nas.objective import Constraint, Objective, Pareto, Reward
from nas.results import RunFolder
from nas.search.distributions import categorical, lasting
from nas.search.evolution import RegularizedEvolution
from nas.search.journal import Journal
from nas.search.records import Target
from nas.search.study import TargetSearch
from nas.space import SearchSpace
from nas.workers.contract import Workers

SPACE = SearchSpace.load("tiny")
TABLE = LatencyTable(
    name="made",
    header={"version": "1"},
    rows={
        layer: Row(layer=layer, ms=0.1 + count_macs(layer) / 1e6, source="modelled")
        for layer in SPACE.layers()
    },
)


@dataclass
class CountingProxy:
    """Gives accuracy by MAdds, and counts how often it was asked for which network."""

    value: float | None = None
    asked: list[str] = field(default_factory=list)

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        self.asked += [arch.key() for arch in archs]
        top1 = [self.value or 50 + 5 * np.log(count_macs(arch) / 1e6) for arch in archs]
        return np.array(top1), np.full(len(archs), 0.5)


@dataclass
class TrainingProxy(CountingProxy):
    """Comes near to the accuracy epoch by epoch, and counts the epochs."""

    n_epochs: int = 8
    n_trained: int = 0

    def curve(self, arch: Arch) -> list[float]:
        top1 = float(super().predict([arch])[0][0])
        return [top1 * (1 - 0.5**epoch) for epoch in range(1, self.n_epochs + 1)]

    def evaluate(
        self, arch: Arch, on_epoch: Callable[[int, float], bool]
    ) -> tuple[float, float] | None:
        for epoch, top1 in enumerate(self.curve(arch), start=1):
            self.n_trained += 1
            if on_epoch(epoch, top1):
                return None
        return self.curve(arch)[-1], 0.5


def evolution(seed: int) -> BaseSampler:
    return RegularizedEvolution(population_size=16, tournament_size=8, seed=seed)


@pytest.fixture(autouse=True)
def close_journals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test leaves open."""
    opened: list[Journal] = []
    start = Journal.__init__

    def tracked(journal: Journal, path: Path) -> None:
        start(journal, path)
        opened.append(journal)

    monkeypatch.setattr(Journal, "__init__", tracked)
    yield
    for journal in opened:
        journal.close()


def open_search(
    folder: Path,
    *,
    n_trials: int = 60,
    proxy: CountingProxy | None = None,
    objective: Objective | None = None,
    target_ms: float = 3.0,
    pruner: BasePruner | None = None,
    make_sampler: Callable[[int], BaseSampler] = evolution,
    workers: Workers | None = None,
) -> TargetSearch:
    return TargetSearch(
        target=Target(
            name="tiny",
            space=SPACE,
            target_ms=target_ms,
            objective=objective or Reward(),
            n_trials=n_trials,
            risk=1.0,
        ),
        table=TABLE,
        proxy=proxy or CountingProxy(),
        storage=Journal(folder / "study.journal"),
        make_sampler=make_sampler,
        sampler_name="regularized_evolution",
        pruner=pruner,
        workers=workers,
    )


def test_figures_of_a_trial_are_those_of_its_network(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    for finished in search.run():
        arch = SPACE.arch(finished.choices)
        one = finished.evaluation
        assert one.key == arch.key()
        assert one.ms == pytest.approx(sum(TABLE.rows[layer].ms for layer in arch.layers))
        cautious = 50 + 5 * np.log(count_macs(arch) / 1e6) - 0.5
        assert one.cautious_top1(1.0) == pytest.approx(cautious)
        assert finished.values[0] == pytest.approx(cautious * (one.ms / 3.0) ** -0.07)


def test_equal_networks_are_evaluated_once(tmp_path: Path) -> None:
    proxy = CountingProxy()
    search = open_search(tmp_path, n_trials=400, proxy=proxy)
    finished = list(search.run())
    assert len(set(proxy.asked)) == len(proxy.asked) == search.n_networks < 400
    assert sum(one.is_new for one in finished) == search.n_networks


def test_winner_and_front_are_those_of_all_trials(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=200)
    finished = list(search.run())
    meeting = [one for one in finished if one.evaluation.ms <= 3.0]
    assert search.winner is not None
    assert search.winner.evaluation.top1 == max(one.evaluation.top1 for one in meeting)
    assert search.best is not None
    assert search.best.values[0] == max(one.values[0] for one in finished)
    figures = [(one.evaluation.ms, one.evaluation.top1) for one in finished]
    on_front = {
        (ms, top1)
        for ms, top1 in figures
        if not any(m <= ms and t >= top1 and (m, t) != (ms, top1) for m, t in figures)
    }
    assert {(one.evaluation.ms, one.evaluation.top1) for one in search.front()} == on_front


def test_a_search_goes_on_where_it_was_left(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=50)
    run = search.run()
    first = [next(run) for _ in range(30)]
    search.storage.close()

    proxy = CountingProxy()
    search = open_search(tmp_path, n_trials=50, proxy=proxy)
    assert search.finished == first
    assert search.winner is not None
    rest = list(search.run())
    assert len(rest) == 20
    assert rest[0].number == 30
    assert not {one.evaluation.key for one in first} & set(proxy.asked)
    search.storage.close()

    search = open_search(tmp_path, n_trials=50)
    assert search.finished == first + rest
    assert list(search.run()) == []


def test_a_resumed_search_does_not_draw_the_same_trials_again(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=8)
    first = list(search.run())
    search.storage.close()
    search = open_search(tmp_path, n_trials=16)
    rest = list(search.run())
    assert [one.choices for one in rest] != [one.choices for one in first]


def test_the_same_seed_gives_the_same_trials(tmp_path: Path) -> None:
    runs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        search = open_search(folder, n_trials=80)
        runs.append([(one.choices, one.values) for one in search.run()])
        search.storage.close()
    assert runs[0] == runs[1]


def test_the_first_trial_is_the_reference(tmp_path: Path) -> None:
    reference = SPACE.random(7)
    search = open_search(tmp_path)
    search.start_from(reference)
    assert next(search.run()).evaluation.key == reference.key()


def test_a_reference_of_other_stages_is_no_start_and_no_error(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    search.start_from(Arch.load("mobilenet_v1"))
    assert next(search.run()).number == 0


def test_a_hard_limit_is_kept_by_the_best(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=150, objective=Constraint(), target_ms=2.0)
    list(search.run())
    assert search.best is not None
    assert search.best.evaluation.ms <= 2.0
    assert search.best == search.winner


def test_two_objectives_are_journalled_both(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=40, objective=Pareto())
    finished = list(search.run())
    search.storage.close()
    search = open_search(tmp_path, n_trials=40, objective=Pareto())
    assert search.finished == finished
    assert all(one.values[1] == one.evaluation.ms for one in finished)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_proxy_that_gives_no_number_stops_the_search(tmp_path: Path, value: float) -> None:
    search = open_search(tmp_path, proxy=CountingProxy(value=value))
    with pytest.raises(NasError, match="a proxy must give a finite top-1"):
        list(search.run())
    assert len(search.finished) == 4
    assert all(f"gave {value} and" in one.row("tiny")["reason"] for one in search.finished)


def test_a_sampler_with_an_option_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    many: Any = "many"
    search._study.sampler = optuna.samplers.TPESampler(n_startup_trials=many)
    with pytest.raises(NasError, match=r"^sampler regularized_evolution fails: .*sampler\.\*="):
        next(search.run())


def test_a_journal_with_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    next(search.run())
    search.storage.close()
    path = tmp_path / "study.journal"
    path.write_text(path.read_text().replace('"top1_std":0.5', '"top1_std":NaN'))
    with pytest.raises(NasError, match=r"trial 0 of the journal .*not finite.*new run folder"):
        open_search(tmp_path)


def test_the_journal_is_ahead_of_what_is_yielded(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=10)
    for number, _ in enumerate(search.run(), start=1):
        records = (tmp_path / "study.journal").read_text().splitlines()
        assert sum(json.loads(line)["op_code"] == 4 for line in records) == number


def test_trials_csv_has_a_line_a_trial(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=20)
    folder = RunFolder(tmp_path)
    file = folder.open_trials([])
    for finished in search.run():
        file.add(finished.row("tiny"))
        rows = list(csv.DictReader(folder.trials.read_text().splitlines()))
        assert len(rows) == finished.number + 1
        assert float(rows[-1]["reward"]) == pytest.approx(finished.values[0], abs=1e-6)
        assert SPACE.arch(json.loads(rows[-1]["choices"])).key() == rows[-1]["key"]
    file.close()


@pytest.mark.parametrize("name", ["TPESampler", "NSGAIISampler", "RandomSampler", "GPSampler"])
def test_every_sampler_of_optuna_fits(tmp_path: Path, name: str) -> None:
    search = open_search(tmp_path, n_trials=15)
    sampler: BaseSampler = getattr(optuna.samplers, name)(seed=0)
    search.storage.close()
    search = TargetSearch(
        target=search.target,
        table=TABLE,
        proxy=CountingProxy(),
        storage=Journal(tmp_path / "study.journal"),
        make_sampler=lambda _: sampler,
        sampler_name=name,
    )
    assert len(list(search.run())) == 15


def test_a_pruner_stops_what_optuna_itself_would_stop(tmp_path: Path) -> None:
    proxy = TrainingProxy()
    search = open_search(
        tmp_path,
        proxy=proxy,
        pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        make_sampler=lambda seed: RandomSampler(seed=seed),
    )
    finished = list(search.run())

    def objective(trial: optuna.Trial) -> float:
        arch = SPACE.sample(trial)
        ms = TABLE.predict_ms(arch)
        for epoch, top1 in enumerate(proxy.curve(arch), start=1):
            (value,) = Reward().values(top1, ms, 3.0)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return Reward().values(proxy.curve(arch)[-1] - 0.5, ms, 3.0)[0]

    by_optuna = optuna.create_study(
        direction="maximize",
        sampler=RandomSampler(seed=0),
        pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    )
    by_optuna.optimize(objective, n_trials=60)
    assert [one.choices for one in finished] == [trial.params for trial in by_optuna.trials]
    assert [dict(one.reports) for one in finished] == [
        trial.intermediate_values for trial in by_optuna.trials
    ]
    assert [one.evaluation.is_whole for one in finished] == [
        trial.state == TrialState.COMPLETE for trial in by_optuna.trials
    ]
    assert search.best is not None
    assert search.best.values[0] == pytest.approx(by_optuna.best_value)
    assert proxy.n_trained < 0.5 * 60 * proxy.n_epochs


def test_a_pruned_network_is_neither_winner_nor_front_nor_known(tmp_path: Path) -> None:
    search = open_search(
        tmp_path, proxy=TrainingProxy(), pruner=MedianPruner(n_startup_trials=5), n_trials=40
    )
    finished = list(search.run())
    pruned = [one for one in finished if not one.evaluation.is_whole]
    assert pruned
    assert all(one.values == () and one.row("tiny")["reward"] == "" for one in pruned)
    assert {one.row("tiny")["state"] for one in pruned} == {"pruned"}
    assert all(
        one.evaluation.is_whole for one in [*search.front(), search.winner, search.best] if one
    )
    assert search.n_networks == len({one.evaluation.key for one in search.whole})


def fails(arch: Arch) -> bool:
    last = arch.layers[-3]
    return last.se > 0 and last.act == "hswish"


@dataclass
class FailingProxy(CountingProxy):
    """Fails on every network with h-swish and squeeze-and-excite in its last block, or on all."""

    on_all: bool = False

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.on_all or fails(archs[0]):
            raise NetworkError("the loss must be a number, but was nan.")
        return super().predict(archs)


def test_a_network_that_fails_costs_its_trial_alone(tmp_path: Path) -> None:
    search = open_search(tmp_path, proxy=FailingProxy(), n_trials=40)
    states = [one.evaluation.state for one in search.run()]
    assert set(states) == {"complete", "failed"}
    assert not any(fails(SPACE.arch(one.choices)) for one in search.whole)
    search.storage.close()
    again = open_search(tmp_path, n_trials=40)
    assert [one.evaluation.state for one in again.finished] == states


def test_a_search_in_which_all_networks_fail_ends(tmp_path: Path) -> None:
    search = open_search(tmp_path, proxy=FailingProxy(on_all=True), n_trials=40)
    with pytest.raises(NetworkError, match="loss must be a number"):
        list(search.run())
    assert len(search.finished) == 4


def test_distributions_are_told_apart_and_copied_as_optunas_own() -> None:
    mixed = {"one": (True, 1.5), "two": (1, 1.5), "three": (1, 1.5)}
    plain = categorical(mixed)
    quick = lasting(plain)
    assert quick["two"] is quick["three"] is copy.deepcopy(quick["two"])
    assert [type(one.choices[0]) for one in quick.values()] == [bool, int, int]  # type: ignore[attr-defined]
    for name, one in plain.items():
        assert quick[name] == lasting({name: one})[name]
        assert quick[name]._asdict() == one._asdict()
        assert (quick[name] == quick["two"]) == (one == plain["two"])


def test_a_pruner_remembers_the_trials_before_an_interruption(tmp_path: Path) -> None:
    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    search = open_search(tmp_path, proxy=TrainingProxy(), pruner=pruner, n_trials=20)
    before = list(search.run())
    trials = search._study.get_trials()
    search.storage.close()
    search = open_search(tmp_path, proxy=TrainingProxy(), pruner=pruner, n_trials=21)
    assert search.finished == before
    for ours, theirs in zip(search._study.get_trials(), trials, strict=True):
        assert ours.state == theirs.state
        assert ours.intermediate_values == theirs.intermediate_values
        assert ours.system_attrs == theirs.system_attrs
    assert search.n_left == 1
