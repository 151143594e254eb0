"""Which networks to train next: those that might be best for a target, as far as is known."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.objective import Objective
from nas.proxies.features import Array
from nas.proxies.guided.regression import GuidedRegression
from nas.space import SearchSpace

if TYPE_CHECKING:
    from nas.search.records import Target

_OPTIMISM = 0.5
"""Standard deviations that the evolution adds: it gathers what might be good."""
_N_PARENTS = 64
_N_CHILDREN = 128
_N_RIVALS = 256
"""Networks of which each posterior draw names its favourite."""
_DRAWS_A_PLACE = 8
_PENALTY = 1000.0
"""Percent that breaking a hard limit by its whole costs."""
_PARETO_BUDGETS = (0.7, 1.0, 1.4)
"""Of the target: where a front is wanted, favourites are named along it."""

Aim = Callable[[float, float], float]
"""Says how good a network is, from its top-1 in percent and its ms."""


def favourites(
    target: "Target",
    table: LatencyTable,
    regression: GuidedRegression,
    n: int,
    *,
    trained: Set[str],
    n_evaluations: int,
    seed: Sequence[int],
) -> list[Arch]:
    """Return up to n different networks that may be best for the target, none of `trained` (keys).

    An evolution gathers what the regression, with some optimism, holds for good. Then each draw
    from the posterior names the best of those (Thompson 1933): so the networks are as different as
    the regression is undecided. Equal input gives equal networks.
    """
    rng = np.random.default_rng(seed)
    aims = _aims(target.objective, target.target_ms)
    found: dict[str, Arch] = {}
    for number, aim in enumerate(aims):
        pool = _Pool(space=target.space, table=table, regression=regression, aim=aim)
        pool.evolve(n_evaluations // len(aims), rng)
        n_wanted = -(-(n - len(found)) // (len(aims) - number))
        found |= pool.named(n_wanted, rng, avoid=trained | found.keys())
    return list(found.values())


def _aims(objective: Objective, target_ms: float) -> list[Aim]:
    if len(objective.directions) == 1:
        return [_aim(objective, target_ms)]
    return [_within(budget * target_ms) for budget in _PARETO_BUDGETS]


def _aim(objective: Objective, target_ms: float) -> Aim:
    sign = 1 if objective.directions[0] == "maximize" else -1

    def aim(top1: float, ms: float) -> float:
        excess = objective.violation(ms, target_ms) or 0.0
        value = sign * objective.values(top1, ms, target_ms)[0]
        return value - _PENALTY * max(0.0, excess)

    return aim


def _within(budget_ms: float) -> Aim:
    return lambda top1, ms: top1 - _PENALTY * max(0.0, ms / budget_ms - 1)


@dataclass(kw_only=True)
class _Pool:
    """All networks that an evolution looked at, in its order."""

    space: SearchSpace
    table: LatencyTable
    regression: GuidedRegression
    aim: Aim
    chosen: list[Mapping[str, Any]] = field(default_factory=list)
    archs: dict[str, Arch] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    fitness: list[float] = field(default_factory=list)

    def evolve(self, n_evaluations: int, rng: np.random.Generator) -> None:
        """Mutate the fittest again and again, from random networks on."""
        choices = self.space.choices
        self._add(
            [
                {name: values[rng.integers(len(values))] for name, values in choices.items()}
                for _ in range(min(2 * _N_CHILDREN, n_evaluations))
            ]
        )
        for _ in range(max(0, n_evaluations // _N_CHILDREN - 2)):
            parents = [self.chosen[index] for index in self._best(_N_PARENTS)]
            drawn = rng.integers(len(parents), size=_N_CHILDREN)
            self._add([_mutated(parents[index], choices, rng) for index in drawn])

    def named(self, n: int, rng: np.random.Generator, avoid: Set[str]) -> dict[str, Arch]:
        """Return up to n networks, by key, that draws from the posterior hold for the best."""
        keys = list(self.archs)
        rivals = [index for index in self._best(len(keys)) if keys[index] not in avoid]
        rivals = rivals[:_N_RIVALS]
        found: dict[str, Arch] = {}
        if not rivals:
            return found
        archs = [self.archs[keys[index]] for index in rivals]
        for draw in self.regression.draw(archs, _DRAWS_A_PLACE * n, rng):
            if len(found) == n:
                return found
            values = [self.aim(top1, self.ms[i]) for top1, i in zip(draw, rivals, strict=True)]
            best = int(np.argmax(values))
            found.setdefault(keys[rivals[best]], archs[best])
        for index in rivals:  # the draws agree: the fittest others
            if len(found) < n:
                found.setdefault(keys[index], self.archs[keys[index]])
        return found

    def _best(self, n: int) -> list[int]:
        return [int(index) for index in np.argsort(-np.array(self.fitness), kind="stable")[:n]]

    def _add(self, many: Sequence[Mapping[str, Any]]) -> None:
        new: dict[str, tuple[Mapping[str, Any], Arch]] = {}
        for chosen in many:
            arch = self.space.arch(chosen)
            if arch.key() not in self.archs:
                new.setdefault(arch.key(), (chosen, arch))
        archs = [arch for _, arch in new.values()]
        ms = self.table.predict_many_ms(archs)
        mean, std = self.regression.predict(archs)
        hopes: Array = mean + _OPTIMISM * std
        self.chosen += [chosen for chosen, _ in new.values()]
        self.archs |= {key: arch for key, (_, arch) in new.items()}
        self.ms += ms.tolist()
        self.fitness += [self.aim(float(a), float(b)) for a, b in zip(hopes, ms, strict=True)]


def _mutated(
    parent: Mapping[str, Any], choices: Mapping[str, tuple[Any, ...]], rng: np.random.Generator
) -> dict[str, Any]:
    """Return a copy with one choice made anew, and each of the others with a chance of 1 in all."""
    names = list(choices)
    is_changed = rng.random(len(names)) < 1 / len(names)
    is_changed[rng.integers(len(names))] = True
    child = dict(parent)
    for name, changes in zip(names, is_changed.tolist(), strict=True):
        if changes:
            values = choices[name]
            others = [value for value in values if value != parent[name]]
            child[name] = others[rng.integers(len(others))]
    return child
