"""Regularised evolution: what it keeps, what it changes, and that it finds the best."""

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import create_trial

from nas.errors import NasError
from nas.search.evolution import RegularizedEvolution, _Member, _undominated

SPACE: dict[str, BaseDistribution] = {
    f"x{number}": CategoricalDistribution((0, 1, 2, 3)) for number in range(10)
}


def optimise(sampler: BaseSampler, n_trials: int) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(n_trials):
        trial = study.ask(SPACE)
        study.tell(trial, float(sum(trial.params.values())))
    return study


def distance(one: dict[str, Any], other: dict[str, Any]) -> int:
    return sum(one[name] != other[name] for name in one)


def test_children_differ_in_one_choice_from_a_member_of_the_population() -> None:
    sampler = RegularizedEvolution(population_size=10, tournament_size=5, extra_mutations=0, seed=0)
    trials = optimise(sampler, 60).trials
    for number in range(10, 60):
        population = trials[number - 10 : number]
        distances = [distance(trials[number].params, member.params) for member in population]
        assert 1 in distances


def test_the_parent_is_the_fittest_when_the_tournament_is_the_population() -> None:
    sampler = RegularizedEvolution(population_size=8, tournament_size=8, extra_mutations=0, seed=0)
    trials = optimise(sampler, 40).trials
    for number in range(8, 40):
        fittest = max(trials[number - 8 : number], key=lambda trial: trial.value or 0.0)
        ties = [t for t in trials[number - 8 : number] if t.value == fittest.value]
        assert 1 in [distance(trials[number].params, tie.params) for tie in ties]


@pytest.mark.slow
def test_it_beats_random_search() -> None:
    for seed in range(3):
        evolved = optimise(RegularizedEvolution(seed=seed), 400).best_value
        assert evolved > optimise(RandomSampler(seed=seed), 400).best_value
        assert evolved == pytest.approx(30, abs=1)


def test_the_same_seed_gives_the_same_trials() -> None:
    runs = [
        [trial.params for trial in optimise(RegularizedEvolution(seed=3), 120).trials]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_a_continued_study_starts_from_its_last_trials() -> None:
    study = optuna.create_study(
        direction="maximize",
        sampler=RegularizedEvolution(
            population_size=5, tournament_size=5, extra_mutations=0, seed=0
        ),
    )
    best = dict.fromkeys(SPACE, 3)
    study.add_trials(create_trial(value=30.0, params=best, distributions=SPACE) for _ in range(5))
    assert distance(study.ask(SPACE).params, best) == 1


def test_networks_that_keep_the_limit_go_before_better_ones_that_do_not() -> None:
    kept, broken = dict.fromkeys(SPACE, 0), dict.fromkeys(SPACE, 3)
    study = optuna.create_study(
        direction="maximize",
        sampler=RegularizedEvolution(
            population_size=2, tournament_size=2, extra_mutations=0, seed=0
        ),
    )
    study.add_trial(
        create_trial(value=1.0, params=kept, distributions=SPACE, constraints={"ms": 0.0})
    )
    study.add_trial(
        create_trial(value=9.0, params=broken, distributions=SPACE, constraints={"ms": 0.1})
    )
    assert distance(study.ask(SPACE).params, kept) == 1


def test_with_two_objectives_dominated_networks_are_no_parents() -> None:
    front = [dict.fromkeys(SPACE, 0), dict.fromkeys(SPACE, 1)]
    dominated = dict.fromkeys(SPACE, 3)
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=RegularizedEvolution(
            population_size=3, tournament_size=3, extra_mutations=0, seed=0
        ),
    )
    for params, values in zip([*front, dominated], [(2, 2), (1, 1), (1, 2)], strict=True):
        study.add_trial(create_trial(values=values, params=params, distributions=SPACE))
    parents = set()
    for _ in range(20):
        child = study.ask(SPACE).params
        parents.add(min((0, 1, 3), key=lambda v: distance(child, dict.fromkeys(SPACE, v))))
    assert parents == {0, 1}


@pytest.mark.parametrize("n_values", [1, 2, 3])
def test_parents_are_those_that_no_other_dominates(n_values: int) -> None:
    rng = np.random.default_rng(n_values)
    for _ in range(50):
        rows = rng.integers(-2, 1, (12, 1 + n_values)).astype(float)
        sample = [_Member(params={}, fitness=tuple(row)) for row in rows.tolist()]
        expected = [member for member in sample if not member.is_dominated(sample)]
        assert [id(member) for member in _undominated(sample)] == [id(one) for one in expected]


def test_numbers_are_mutated_too() -> None:
    study = optuna.create_study(
        direction="maximize",
        sampler=RegularizedEvolution(population_size=4, tournament_size=4, seed=0),
    )
    for _ in range(60):
        trial = study.ask({"n": IntDistribution(0, 100)})
        study.tell(trial, float(trial.params["n"]))
    assert study.best_value > 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tournament_size": 65}, "tournament_size=65, population_size=64"),
        ({"tournament_size": 0}, "tournament_size=0"),
        ({"extra_mutations": -1.0}, "extra_mutations must be at least 0, but is -1.0"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        RegularizedEvolution(**options)


def test_trials_of_other_commands_join_the_population() -> None:
    sampler = RegularizedEvolution(population_size=8, tournament_size=8, extra_mutations=0, seed=0)
    study = optimise(sampler, 8)
    best = dict.fromkeys(SPACE, 3)
    study.add_trial(create_trial(value=99.0, params=best, distributions=SPACE))
    for _ in range(7):  # the eighth child pushes it out
        child = study.ask(SPACE)
        assert distance(child.params, best) == 1
        study.tell(child, 0.0)
