"""How well one series of times agrees with another: errors in percent, and order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Pairs are compared a block of this many values at a time: 2,000 by 2,000 signs are 4 MB.
_BLOCK = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What the relative errors `predicted / measured - 1` of `n` networks come to, in percent.

    `tau` is Kendall's tau-b of the two series; NaN where fewer than two values differ.
    """

    n: int
    mean_error_percent: float
    bias_percent: float
    within_5_percent: float
    within_10_percent: float
    worst_percent: float
    tau: float

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Self | None:
        """Return how two series of positive times agree; None where they are empty."""
        if not len(predicted):
            return None
        errors = 100 * (np.asarray(predicted, float) / np.asarray(measured, float) - 1)
        sizes = np.abs(errors)
        return cls(
            n=len(errors),
            mean_error_percent=float(sizes.mean()),
            bias_percent=float(errors.mean()),
            within_5_percent=float(100 * (sizes <= 5).mean()),
            within_10_percent=float(100 * (sizes <= 10).mean()),
            worst_percent=float(sizes.max()),
            tau=kendall_tau(predicted, measured),
        )


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b of two series, exactly; NaN where either is constant."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    agreeing = untied_x = untied_y = 0
    for start in range(0, len(x), _BLOCK):
        x_signs = _signs(x, start)
        y_signs = _signs(y, start)
        agreeing += int((x_signs * y_signs).sum(dtype=np.int64))
        untied_x += int(np.count_nonzero(x_signs))
        untied_y += int(np.count_nonzero(y_signs))
    # Every pair was counted twice, above and below the line.
    return float(agreeing / np.sqrt(float(untied_x) * untied_y)) if untied_x * untied_y else np.nan


def spearman_rho(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rank correlation of two series; NaN where either is constant."""
    x, y = (_ranks(np.asarray(one, dtype=np.float64)) for one in (first, second))
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale else np.nan


def _signs(values: NDArray[np.float64], start: int) -> NDArray[np.int8]:
    return np.sign(values[start : start + _BLOCK, None] - values[None]).astype(np.int8)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value; equal values share the mean of theirs."""
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[numbers]
