"""Regularised evolution as an Optuna sampler."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NasError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One network of the population; `fitness` holds minus a broken limit, then the values."""

    params: dict[str, Any]
    fitness: tuple[float, ...]

    def is_dominated(self, others: Sequence["_Member"]) -> bool:
        """Tell whether another keeps the limit better, or is as good in all and better in one."""
        return any(
            other.fitness[0] > self.fitness[0]
            or (
                other.fitness != self.fitness
                and all(a >= b for a, b in zip(other.fitness, self.fitness, strict=True))
            )
            for other in others
        )


def _undominated(sample: Sequence[_Member]) -> list[_Member]:
    """Return the members that no other dominates, in their order."""
    least_broken = max(member.fitness[0] for member in sample)
    keeping = [member for member in sample if member.fitness[0] == least_broken]
    if len(keeping[0].fitness) == 2:  # one objective: the best, and whoever is as good
        most = max(member.fitness[1] for member in keeping)
        return [member for member in keeping if member.fitness[1] == most]
    return [member for member in keeping if not member.is_dominated(keeping)]


class RegularizedEvolution(BaseSampler):
    """Mutate the best of a random sample of the youngest networks (arXiv:1802.01548).

    The population is the last `population_size` finished trials, so that a network survives by its
    children alone. A child differs from its parent in one choice, and in each further one with a
    chance of `extra_mutations` over their number. Each trial costs the same, however many came
    before. With several objectives the parent is drawn from those that none of the sample
    dominates.
    """

    def __init__(
        self,
        *,
        population_size: int = 64,
        tournament_size: int = 16,
        extra_mutations: float = 1.0,
        seed: int | None = None,
    ) -> None:
        if not 1 <= tournament_size <= population_size:
            raise NasError(
                "1 <= tournament_size <= population_size must hold, but got "
                f"tournament_size={tournament_size}, population_size={population_size}."
            )
        if not extra_mutations >= 0:
            raise NasError(f"extra_mutations must be at least 0, but is {extra_mutations}.")
        self._population_size = population_size
        self._tournament_size = tournament_size
        self._extra_mutations = extra_mutations
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._population: deque[_Member] = deque(maxlen=population_size)
        self._n_known = 0
        self._space: dict[str, BaseDistribution] = {}

    def reseed_rng(self) -> None:
        """Draw a new seed, as Optuna asks for in parallel workers."""
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Take over the trials that were not asked of it: those before it, and other commands'."""
        if trial.number > self._n_known:
            for old in study.get_trials(deepcopy=False)[self._n_known : trial.number]:
                if old.state == TrialState.COMPLETE:
                    self._add(study, old, old.values)
        self._n_known = max(self._n_known, trial.number + 1)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let a finished trial into the population; the oldest leaves."""
        if state == TrialState.COMPLETE:
            self._add(study, trial, values)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the choices of the past trials, once the population is full."""
        is_full = len(self._population) >= self._population_size
        return self._space if is_full else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a mutated copy of the fittest network of a random sample."""
        if not search_space:
            return {}
        drawn = self._rng.choice(len(self._population), self._tournament_size, replace=False)
        sample = [self._population[i] for i in drawn]
        best = _undominated(sample)
        parent = best[self._rng.integers(len(best))]
        return self._mutated(study, trial, parent.params, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return a uniform draw, for the first population."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _add(self, study: Study, trial: FrozenTrial, values: Sequence[float] | None) -> None:
        if not values:
            return
        excess = sum(max(0.0, value) for value in trial.constraints.values())
        signed = (
            value if direction == StudyDirection.MAXIMIZE else -value
            for value, direction in zip(values, study.directions, strict=True)
        )
        self._space = self._space or dict(trial.distributions)
        self._population.append(_Member(params=trial.params, fitness=(-excess, *signed)))

    def _mutated(
        self,
        study: Study,
        trial: FrozenTrial,
        params: dict[str, Any],
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        names = list(search_space)
        chance = min(1.0, self._extra_mutations / len(names))
        is_changed = self._rng.random(len(names)) < chance
        is_changed[self._rng.integers(len(names))] = True
        child = dict(params)
        for name, changes in zip(names, is_changed.tolist(), strict=True):
            if changes:
                child[name] = self._other(study, trial, name, search_space[name], params[name])
        return child

    def _other(
        self, study: Study, trial: FrozenTrial, name: str, distribution: Any, value: Any
    ) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            others = [choice for choice in distribution.choices if choice != value]
            return others[self._rng.integers(len(others))] if others else value
        return self._random.sample_independent(study, trial, name, distribution)
