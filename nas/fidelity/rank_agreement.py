"""How alike two series order the same networks, and how sure a sample lets one be of it.

Every statistic takes `weights` (n_samples, n): how often each network counts in each sample. So all
resamples of a bootstrap are computed at once, and several series on the same resamples (paired).
A statistic of a sample in which either series is constant, or which holds fewer than two networks,
is NaN: there is no order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import asin, isfinite, nan, pi, sin, sqrt
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[ArrayLike, ArrayLike, Array], Array]

CONFIDENCE = 0.95
TOP_SHARE = 0.1
# Signs are compared a block of this many columns at a time: 4,000 by 500 are 16 MB.
_BLOCK = 500
_LEAST_SAMPLES = 0.5
"""Share of the resamples that must have an order for an interval to be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure of a sample with its interval of `CONFIDENCE`; NaN where there is none."""

    value: float
    low: float = nan
    high: float = nan

    @classmethod
    def of(cls, samples: Array) -> Self:
        """Return the estimate of a figure: first the sample's own, then those of resamples."""
        value, resampled = float(samples[0]), samples[1:]
        known = resampled[np.isfinite(resampled)]
        if not isfinite(value) or len(known) < max(1, _LEAST_SAMPLES * len(resampled)):
            return cls(value=value)
        low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return cls(value=value, low=float(low), high=float(high))


def resamples(n: int, n_bootstrap: int, seed: int) -> Array:
    """Return weights (1 + n_bootstrap, n): the sample itself, then draws with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    return np.concatenate([np.ones((1, n)), drawn])


def spearman(first: ArrayLike, second: ArrayLike, weights: Array) -> Array:
    """Return Spearman's rank correlation in each sample; equal values share their mean rank."""
    x, y, kept = _counted(first, second, weights)
    x_ranks, y_ranks = _ranks(x, kept), _ranks(y, kept)
    # Ranks lie about (total + 1) / 2, equal ones or not.
    middle = (kept.sum(axis=1, keepdims=True) + 1) / 2
    x_off, y_off = x_ranks - middle, y_ranks - middle
    shared = (kept * x_off * y_off).sum(axis=1)
    own = (kept * x_off**2).sum(axis=1) * (kept * y_off**2).sum(axis=1)
    return _quotient(shared, np.sqrt(own))


def kendall(first: ArrayLike, second: ArrayLike, weights: Array) -> Array:
    """Return Kendall's tau-b in each sample."""
    x, y, kept = _counted(first, second, weights)
    agreeing, untied_x, untied_y = (np.zeros(len(kept)) for _ in range(3))
    for start in range(0, len(x), _BLOCK):
        columns = slice(start, start + _BLOCK)
        x_signs = np.sign(x[:, None] - x[columns])
        y_signs = np.sign(y[:, None] - y[columns])
        agreeing += _pairs(x_signs * y_signs, kept, columns)
        untied_x += _pairs(np.abs(x_signs), kept, columns)
        untied_y += _pairs(np.abs(y_signs), kept, columns)
    return _quotient(agreeing, np.sqrt(untied_x * untied_y))


def top_overlap(
    first: ArrayLike, second: ArrayLike, weights: Array, share: float = TOP_SHARE
) -> Array:
    """Return which share of the networks at the top of one series is at the top of the other.

    The top are `share` of the networks, at least one; networks equal at its border count in part.
    Guessing reaches `share`.
    """
    x, y, kept = _counted(first, second, weights)
    n_top = np.maximum(1, np.rint(share * kept.sum(axis=1)))
    shared = np.minimum(_in_top(x, kept, n_top), _in_top(y, kept, n_top)).sum(axis=1)
    has_order = np.isfinite(spearman(x, y, kept))
    return np.where(has_order, shared / n_top, nan)


STATISTICS: Mapping[str, Statistic] = {
    "spearman": spearman,
    "kendall": kendall,
    "top_overlap": top_overlap,
}


def reachable_tau(between: float, n_trainings: int) -> float:
    """Return the Kendall's tau with the mean of `n_trainings` that perfect knowledge would reach.

    `between` is the tau of single trainings with each other. Under normal errors r = sin(pi tau /
    2) turns tau into a correlation and back (Kruskal 1958); the correlation of the expected value
    with the mean of m trainings is sqrt(m r / (1 + (m - 1) r)) (Spearman and Brown, 1910).
    It is 0 where trainings do not agree.
    """
    if not isfinite(between):
        return nan
    r = sin(pi * max(0.0, between) / 2)
    return 2 / pi * asin(sqrt(n_trainings * r / (1 + (n_trainings - 1) * r)))


def _counted(first: ArrayLike, second: ArrayLike, weights: Array) -> tuple[Array, Array, Array]:
    """Return both series and the weights without the networks that no sample counts."""
    is_counted = weights.any(axis=0)
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return x[is_counted], y[is_counted], weights[:, is_counted]


def _groups(values: Array, weights: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the weight of each different value, by rising value, and each network's value."""
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    starts = np.cumsum(counts) - counts
    return np.add.reduceat(weights[:, order], starts, axis=1), numbers


def _ranks(values: Array, weights: Array) -> Array:
    if not len(values):
        return np.zeros_like(weights)
    of_value, numbers = _groups(values, weights)
    return np.asarray((np.cumsum(of_value, axis=1) - (of_value - 1) / 2)[:, numbers])


def _in_top(values: Array, weights: Array, n_top: Array) -> Array:
    """Return how much of each network's weight belongs to the `n_top` greatest values."""
    if not len(values):
        return np.zeros_like(weights)
    of_value, numbers = _groups(-values, weights)
    above = np.cumsum(of_value, axis=1) - of_value
    taken = np.clip(n_top[:, None] - above, 0, of_value)
    share = taken / np.where(of_value > 0, of_value, 1)
    return np.asarray(weights * share[:, numbers])


def _pairs(signs: Array, weights: Array, columns: slice) -> Array:
    return np.asarray(((weights @ signs) * weights[:, columns]).sum(axis=1))


def _quotient(above: Array, below: Array) -> Array:
    return np.where(below > 0, above / np.where(below > 0, below, 1), nan)
