"""Ranges for 8-bit numbers: where rounding and clipping together do the least harm.

The least and greatest value that images ever reach are reached by few of them, but every other
value is rounded to steps that are coarser for it. So a range may end before them, where the squared
error over all values is least (Sung et al., arXiv:1511.06488; Krishnamoorthi, arXiv:1806.08342).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

N_BINS = 1024
N_STEPS = 255
SHARES = np.linspace(0.3, 1, 36)
"""Of the least and the greatest value: the bounds that are tried."""


class Histogram:
    """How many values lie in each of `N_BINS` equal parts between two bounds."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        self._counts = np.zeros(N_BINS)

    def add(self, values: Tensor) -> None:
        """Count values, which must lie within the bounds."""
        if self._low < self._high:
            counts = torch.histc(values, N_BINS, self._low, self._high)
            self._counts += counts.numpy().astype(np.float64)

    def quietest(self) -> tuple[float, float]:
        """Return the bounds of least error, which hold zero unless the old ones do not."""
        if not self._counts.any():
            return self._low, self._high
        width = (self._high - self._low) / N_BINS
        middles = self._low + (np.arange(N_BINS) + 0.5) * width
        lows, highs = (
            value * SHARES if is_beyond_zero else np.array([value])
            for value, is_beyond_zero in ((self._low, self._low < 0), (self._high, self._high > 0))
        )
        below = self._clipped(np.maximum(lows[:, None] - middles, 0))
        above = self._clipped(np.maximum(middles - highs[:, None], 0))
        steps = (np.maximum(highs, 0) - np.minimum(lows, 0)[:, None]) / N_STEPS
        errors = below[:, None] + above + self._counts.sum() * np.square(steps) / 12
        row, column = np.unravel_index(errors.argmin(), errors.shape)
        return float(lows[row]), float(highs[column])

    def _clipped(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squared error of clipping by the distances (bounds, bins)."""
        return np.asarray(np.square(distances) @ self._counts)
