"""A study in memory of our own: Optuna's own ask and storage are the truth for it."""

import copy
import gc
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nas.search.asking import ask, memory
from nas.search.choices import Catalogue, Chosen
from nas.search.distributions import categorical, lasting
from nas.search.evolution import RegularizedEvolution
from nas.search.memory import StudyInMemory

OFFERED: dict[str, tuple[Any, ...]] = {
    "act": ("relu", "hswish"),
    "depth": (1, 2, 3),
    "kernel": (3, 5),
    "se": (0, 0.25),
    "wide": (True, False),
    "expand": (3, 4, 6),
}
DISTRIBUTIONS = lasting(categorical(OFFERED))
N_AHEAD = 3
SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": lambda: RandomSampler(seed=0),
    "evolution": lambda: RegularizedEvolution(population_size=8, tournament_size=4, seed=0),
    "nsga2": lambda: NSGAIISampler(population_size=8, seed=0),
    "tpe": lambda: TPESampler(n_startup_trials=5, seed=0),
    "gp": lambda: GPSampler(n_startup_trials=26, seed=0),
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": lambda: MedianPruner(n_startup_trials=3),
    "halving": lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    "hyperband": lambda: HyperbandPruner(min_resource=1, max_resource=4),
}
Asks = Callable[[optuna.Study], tuple[Trial, dict[str, Any]]]


def ours() -> BaseStorage:
    return memory(Catalogue(OFFERED), DISTRIBUTIONS)


def made(storage: BaseStorage, sampler: str, pruner: str) -> optuna.Study:
    """Return a study with a past of two, and a third trial that was given."""
    study = optuna.create_study(
        storage=storage,
        study_name="named",  # Hyperband sorts trials by it
        direction="maximize",
        sampler=SAMPLERS[sampler](),
        pruner=PRUNERS[pruner](),
    )
    for value in (1.0, 2.0):
        params = {name: values[0] for name, values in OFFERED.items()}
        study.add_trial(create_trial(value=value, params=params, distributions=DISTRIBUTIONS))
    study.enqueue_trial({name: values[-1] for name, values in OFFERED.items()})
    return study


def end(study: optuna.Study, trial: Trial, choices: dict[str, Any]) -> None:
    """Report, prune, fail or finish a trial by its choices alone."""
    value = choices["depth"] + choices["expand"] / 10 + (choices["act"] == "relu")
    trial.set_constraint("ms", choices["kernel"] - 4.0)
    trial.set_user_attr("noted", {"depth": choices["depth"]})
    for epoch in range(1, 4):
        trial.report(value * epoch / 3, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    if (choices["se"], choices["wide"], choices["kernel"]) == (0, True, 5):
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, value)


def run(study: optuna.Study, asks: Asks, n_trials: int) -> list[FrozenTrial]:
    """Run so many trials, some of them at a time, and return all there are."""
    under_way = []
    for _ in range(n_trials):
        under_way.append(asks(study))
        if len(under_way) == N_AHEAD:
            end(study, *under_way.pop(1))
    return study.get_trials()


def by_optuna(study: optuna.Study) -> tuple[Trial, dict[str, Any]]:
    trial = study.ask(DISTRIBUTIONS)
    return trial, trial.params


CASES = [
    *((sampler, "halving") for sampler in SAMPLERS),
    *(("evolution", pruner) for pruner in PRUNERS if pruner != "halving"),
    ("tpe", "hyperband"),
]


@pytest.mark.parametrize("make", [ours, InMemoryStorage])
@pytest.mark.parametrize(("sampler", "pruner"), CASES)
def test_trials_are_those_that_optuna_asks_for_and_keeps(
    sampler: str, pruner: str, make: Callable[[], BaseStorage]
) -> None:
    storage = make()
    study, truth = made(storage, sampler, pruner), made(InMemoryStorage(), sampler, pruner)
    found = run(study, lambda study: ask(study, storage, DISTRIBUTIONS), n_trials=30)
    expected = run(truth, by_optuna, n_trials=30)
    assert {trial.state for trial in expected} >= {TrialState.COMPLETE, TrialState.RUNNING}
    for one, other in zip(found, expected, strict=True):
        for name in ("number", "state", "values", "params", "distributions", "constraints"):
            assert getattr(one, name) == getattr(other, name), (one.number, name)
        for name in ("user_attrs", "system_attrs", "intermediate_values"):
            assert getattr(one, name) == getattr(other, name), (one.number, name)
    assert study.best_trial.number == truth.best_trial.number


def test_what_was_read_is_not_changed_by_what_is_written() -> None:
    storage = ours()
    study = optuna.create_study(storage=storage, sampler=RandomSampler(seed=0))
    ask(study, storage, DISTRIBUTIONS)
    before = study.get_trials(deepcopy=False)[0]
    seen = copy.deepcopy(before)
    storage.set_trial_intermediate_value(0, 1, 1.0)
    storage.set_trial_user_attr(0, "noted", 1)
    storage.set_trial_system_attr(0, "rung", 1.0)
    storage.set_trial_state_values(0, TrialState.COMPLETE, [1.0])
    assert before == seen
    now = study.get_trials(deepcopy=False)[0]
    assert (now.state, now.values, now.params) == (TrialState.COMPLETE, [1.0], seen.params)
    assert now.intermediate_values == {1: 1.0}
    assert (now.user_attrs, now.system_attrs) == ({"noted": 1}, {"rung": 1.0})
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_user_attr(0, "noted", 2)
    with pytest.raises(KeyError):
        storage.get_trial(1)


def test_trials_of_another_space_are_kept_as_they_are() -> None:
    study = optuna.create_study(storage=ours(), sampler=RandomSampler(seed=0))
    others = [
        {"other": (1, 2)},
        {**OFFERED, "depth": (3, 2, 1)},
        {name: OFFERED[name] for name in ("act", "depth")},
    ]
    for offered in others:
        params = {name: values[-1] for name, values in offered.items()}
        study.add_trial(create_trial(value=1.0, params=params, distributions=categorical(offered)))
    for offered, kept in zip(others, study.get_trials(), strict=True):
        assert kept.params == {name: values[-1] for name, values in offered.items()}
        assert kept.distributions == categorical(offered)


def bytes_a_trial(storage: BaseStorage) -> float:
    study = optuna.create_study(storage=storage)
    past = create_trial(
        value=1.0,
        params={name: values[0] for name, values in OFFERED.items()},
        distributions=DISTRIBUTIONS,
    )
    n_trials = 300
    gc.collect()
    tracemalloc.start()
    try:
        study.add_trials([past] * n_trials)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / n_trials
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_finished_trials_take_few_bytes() -> None:
    assert bytes_a_trial(ours()) < 250 < 0.2 * bytes_a_trial(InMemoryStorage())


def test_trials_are_kept_whole_for_whoever_looks_again_and_again() -> None:
    storage = ours()
    study = made(storage, "random", "median")
    looks = [study.get_trials(deepcopy=False) for _ in range(3)]
    assert looks[0][0] is not looks[1][0]
    assert looks[1][0] is looks[2][0]


def test_nothing_is_missing_that_optuna_wants_of_a_storage() -> None:
    assert not StudyInMemory.__abstractmethods__
    assert isinstance(ours(), StudyInMemory)


def test_a_newer_optuna_that_wants_more_gets_its_own_storage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StudyInMemory, "__abstractmethods__", frozenset({"newer"}))
    assert type(ours()) is InMemoryStorage


@pytest.mark.parametrize("offered", [OFFERED, {**OFFERED, "width": tuple(range(1000))}])
def test_kept_choices_read_like_a_dictionary(offered: dict[str, tuple[Any, ...]]) -> None:
    chosen = {name: values[-1] for name, values in offered.items()}
    kept = Catalogue(offered).kept(dict(reversed(chosen.items())))
    assert isinstance(kept, Chosen)
    assert kept == chosen
    assert chosen == kept
    assert kept != {**chosen, "depth": 1}
    assert list(kept) == list(offered)
    assert {name: kept[name] for name in kept} == chosen
    assert json.dumps(dict(kept.items())) == json.dumps(chosen)
    assert repr(kept) == repr(chosen)


@pytest.mark.parametrize(
    "change", [{"other": 1}, {"depth": 4}, {"depth": [1]}], ids=["name", "value", "type"]
)
def test_choices_that_are_not_offered_are_kept_as_they_are(change: dict[str, Any]) -> None:
    chosen = {name: values[0] for name, values in OFFERED.items()} | change
    assert Catalogue(OFFERED).kept(chosen) == chosen
    del chosen["act"]
    assert Catalogue(OFFERED).kept(chosen) == chosen
