"""Bounds of a block's latency by timed blocks: no less than a smaller, no more than a larger one.

The clamp of a monotone cost between monotone bounds is monotone again: the larger block's cost,
lower and upper bound are each at least the smaller one's, and so is the middle of the three. Bounds
carry what no smooth term can, such as a size at which rows compete for the same cache lines, and
let go by themselves away from the timed blocks, where nothing near binds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.latency.terms import Array

ORDERED = ("size", "in_channels", "mid_channels", "out_channels", "kernel", "se")
_ordered = attrgetter(*ORDERED)
# Comparing in chunks keeps the table of comparisons small: rows times anchors.
CHUNK = 512
Sizes = NDArray[np.int32]


def sizes_of(layers: Sequence[Layer]) -> Sizes:
    """Return stride, whether there is an expansion, and the ordered sizes of mbconv layers."""
    rows = [(layer.stride, layer.has_expansion, *_ordered(layer)) for layer in layers]
    return np.array(rows, dtype=np.int32).reshape(-1, 2 + len(ORDERED))


def is_at_most(smaller: Sizes, larger: Sizes) -> NDArray[np.bool_]:
    """Return which blocks (rows) are comparable to and nowhere larger than others (columns)."""
    result: NDArray[np.bool_] = smaller[:, None, 0] == larger[None, :, 0]
    for column in range(1, smaller.shape[1]):
        result &= smaller[:, None, column] <= larger[None, :, column]
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Timed blocks, `sizes` as of `sizes_of`, and their ms, which grow with the sizes.

    The ms are of the all-ReLU block with a linear projection and without a convolved shortcut.
    """

    sizes: Sizes
    ms: Array

    @classmethod
    def none(cls) -> Self:
        """Return bounds that hold nothing back."""
        return cls(sizes=sizes_of([]), ms=np.zeros(0))

    def clamp(self, sizes: Sizes, ms: Array) -> Array:
        """Return the ms, raised to the largest smaller and lowered to the smallest larger block."""
        result = ms.copy()
        for stride in np.unique(sizes[:, 0]):
            anchors = self.sizes[:, 0] == stride
            rows = np.flatnonzero(sizes[:, 0] == stride)
            for chunk in (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)):
                low, high = self._limits(self.sizes[anchors], self.ms[anchors], sizes[chunk])
                result[chunk] = np.clip(ms[chunk], low, high)
        return result

    def _limits(self, anchors: Sizes, anchor_ms: Array, sizes: Sizes) -> tuple[Array, Array]:
        below = np.where(is_at_most(anchors, sizes).T, anchor_ms, 0.0)
        above = np.where(is_at_most(sizes, anchors), anchor_ms, np.inf)
        low: Array = below.max(axis=1, initial=0.0)
        high: Array = above.min(axis=1, initial=np.inf)
        return low, high
