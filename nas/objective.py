"""What a search maximises, from accuracy and latency, and what comes out best."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError

Direction = Literal["maximize", "minimize"]


class Objective(Protocol):
    """Turns the top-1 accuracy in percent and the latency in ms into what a study optimises."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Return `maximize` or `minimize` for each value."""

    def values(self, top1: float, ms: float, target_ms: float) -> tuple[float, ...]:
        """Return the values of one network."""

    def violation(self, ms: float, target_ms: float) -> float | None:
        """Return by how much a hard limit is broken (at most 0: kept), or None without limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """MnasNet's reward ACC x (LAT / TAR) ** w (arXiv:1807.11626, equation 2).

    `exponent` is w at and above the target, `exponent_below` w below it (None: the same). Soft,
    as MobileNetV3 uses it: -0.07 for Large, -0.15 for Small; the hard variant: -1 and 0.
    """

    exponent: float = -0.07
    exponent_below: float | None = None

    directions: ClassVar[tuple[Direction, ...]] = ("maximize",)

    def __post_init__(self) -> None:
        below = self.exponent if self.exponent_below is None else self.exponent_below
        for value in (self.exponent, below):
            if not (isfinite(value) and -10 <= value <= 0):
                raise NasError(f"a reward's exponent must be from -10 to 0, but is {value}.")

    def values(self, top1: float, ms: float, target_ms: float) -> tuple[float]:
        """Return the reward, in percent like the accuracy."""
        is_below = ms < target_ms and self.exponent_below is not None
        exponent = self.exponent_below if is_below else self.exponent
        return (top1 * (ms / target_ms) ** (exponent or 0.0),)

    def violation(self, ms: float, target_ms: float) -> None:
        """Return None: the reward trades and never forbids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absolute:
    """TuNAS's reward ACC + 100 beta |LAT / TAR - 1|, which meets the target in one search.

    Source: arXiv:2008.06120; `beta` is for accuracies from 0 to 1, so 100 beta for percent.
    """

    beta: float = -0.07

    directions: ClassVar[tuple[Direction, ...]] = ("maximize",)

    def __post_init__(self) -> None:
        if not (isfinite(self.beta) and self.beta < 0):
            raise NasError(f"beta must be below 0, but is {self.beta}.")

    def values(self, top1: float, ms: float, target_ms: float) -> tuple[float]:
        """Return the reward, in percent like the accuracy."""
        return (top1 + 100 * self.beta * abs(ms / target_ms - 1),)

    def violation(self, ms: float, target_ms: float) -> None:
        """Return None: the reward trades and never forbids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """The best accuracy among the networks that meet the target: a hard limit."""

    directions: ClassVar[tuple[Direction, ...]] = ("maximize",)

    def values(self, top1: float, ms: float, target_ms: float) -> tuple[float]:
        """Return the accuracy."""
        return (top1,)

    def violation(self, ms: float, target_ms: float) -> float:
        """Return the share by which the target is exceeded."""
        return ms / target_ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """Accuracy and latency side by side."""

    directions: ClassVar[tuple[Direction, ...]] = ("maximize", "minimize")

    def values(self, top1: float, ms: float, target_ms: float) -> tuple[float, float]:
        """Return accuracy and latency."""
        return top1, ms

    def violation(self, ms: float, target_ms: float) -> None:
        """Return None: the whole front is wanted."""


def pareto_front(ms: Sequence[float], top1: Sequence[float]) -> list[int]:
    """Return the indices of the points that no other dominates, by rising ms.

    A point dominates another that it equals or beats in both, and beats in one; of equal points
    the first stays. Takes O(n log n).
    """
    _check_points(ms, top1)
    order = np.lexsort((np.arange(len(ms)), -np.asarray(top1), np.asarray(ms)))
    front: list[int] = []
    for index in order.tolist():
        if not front or top1[index] > top1[front[-1]]:
            front.append(index)
    return front


def hypervolume(
    ms: Sequence[float], top1: Sequence[float], reference: tuple[float, float]
) -> float:
    """Return the area (ms x percent) that the points dominate, up to the `reference` (ms, top-1).

    Points beyond the reference count nothing.
    """
    _check_points([reference[0]], [reference[1]])
    area, floor = 0.0, reference[1]
    for index in pareto_front(ms, top1):
        if ms[index] < reference[0] and top1[index] > floor:
            area += (reference[0] - ms[index]) * (top1[index] - floor)
            floor = top1[index]
    return area


def _check_points(ms: Sequence[float], top1: Sequence[float]) -> None:
    points: NDArray[np.float64] = np.array([ms, top1], dtype=np.float64)
    if not np.isfinite(points).all():
        raise NasError("ms and top-1 must be finite, but a point holds NaN or infinity.")
