"""The terms of the latency cost model: monotone features of a primitive, and their matrix.

A term is a product of counts of one kind of primitive, such as `rows*inner`, often times a ramp:
the part of another count that lies in a range, such as `columns[64..72]`. Counts grow with kernel,
channels and resolution, and so do products and ramps of them; a sum of terms with non-negative
coefficients therefore never makes a larger layer cheaper, inside the timed range or far outside.
Ramps bend the cost where a device does: at the size of a cache or of a tile of its kernels.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = dict[str, Array]

# Where ramps begin and end: wherever the timed blocks have values close enough to tell them apart.
CHANNELS = (
    *(0, 16, 24, 32, 40, 48, 64, 72, 80, 96, 104, 112, 120, 128, 144, 160, 192, 240, 288),
    *(384, 576, 768, 1152),
)
SIZES = (
    *(0, 4, 5, 6, 7, 8, 10, 11, 12, 14, 16, 20, 22, 24, 28, 32, 40, 44, 48, 56, 64, 80, 88, 96),
    *(112, 128),
)
PIXELS = tuple(size**2 for size in SIZES)
ELEMENTS = (0, *(2**power for power in range(10, 20)))
WEIGHTS = (*ELEMENTS, 2**20, 2**21)
ROWS = (*range(0, 8192, 512), *range(8192, 16385, 1024))
# Rows of a feature map that lie a multiple of 16 KiB apart compete for the same cache lines.
ALIASES = range(4096, 20481, 4096)
# Rows of a matrix product are computed in tiles; which heights, differs by device and library.
TILES = (2, 4, 6, 8, 12, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A monotone feature of the primitives of one group; its coefficient is in ms."""

    group: str
    factors: tuple[str, ...]
    ramp: str = ""
    start: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        """Return the name that cost-model files use, such as `conv.rows*inner*columns[64..72]`."""
        stop = "" if self.stop is None else self.stop
        ramp = (f"{self.ramp}[{self.start}..{stop}]",) if self.ramp else ()
        return f"{self.group}.{'*'.join((*self.factors, *ramp))}"

    def values(self, counts: Counts) -> Array:
        """Return the feature of each primitive of the group."""
        factors = [counts[factor] for factor in self.factors]
        if self.ramp:
            factors.append(np.clip(counts[self.ramp], self.start, self.stop) - self.start)
        return math.prod(factors[1:], start=factors[0])


def _ramps(group: str, factors: Sequence[str], ramp: str, knots: Sequence[int]) -> Iterator[Term]:
    for start, stop in zip_longest(knots, knots[1:]):
        yield Term(group=group, factors=tuple(factors), ramp=ramp, start=start, stop=stop)


def _products(group: str, *products: Sequence[str]) -> Iterator[Term]:
    for factors in products:
        yield Term(group=group, factors=tuple(factors))


def _convolution_terms() -> Iterator[Term]:
    singles = ["calls", "rows", "inner", "columns", "macs_columns16"]
    singles += [f"macs_rows{tile}" for tile in TILES]
    yield from _products("conv", *([single] for single in singles))
    yield from _ramps("conv", ("rows", "inner"), "columns", CHANNELS)
    yield from _ramps("conv", ("rows", "columns"), "inner", CHANNELS)
    yield from _ramps("conv", ("inner", "columns"), "rows", PIXELS)
    for count in ("in_elements", "out_elements", "weights"):
        yield from _ramps("conv", (), count, ELEMENTS)
    spatial = (["rows"], ["rows", "inner"], ["out_elements"])
    yield from _products("conv", *(["is_spatial", *factors] for factors in spatial))


def _depthwise_terms(group: str, *common: str) -> Iterator[Term]:
    singles = ("calls", "channels", "pixels")
    yield from _products(group, *([*common, single] for single in singles))
    yield from _ramps(group, (*common, "pixels"), "channels", CHANNELS)
    row = ((*common, "out_size"), "row_elements")
    yield from _ramps(group, *row, ROWS)
    for alias in ALIASES:
        yield Term(group=group, factors=row[0], ramp=row[1], start=alias - 1, stop=alias)
    for count in ("in_elements", "out_elements"):
        yield from _ramps(group, common, count, ELEMENTS)


def _elementwise_terms(group: str) -> Iterator[Term]:
    yield from _products(group, ["calls"], ["channels"])
    yield from _ramps(group, ["pixels"], "channels", CHANNELS)
    yield from _ramps(group, (), "elements", ELEMENTS)


def _linear_terms() -> Iterator[Term]:
    yield from _products("linear", ["calls"], ["inner"], ["columns"])
    yield from _ramps("linear", (), "weights", WEIGHTS)


def _all_terms() -> Iterator[Term]:
    yield from _convolution_terms()
    for group in ("depthwise", "depthwise_strided"):
        yield from _depthwise_terms(group)
        yield from _depthwise_terms(group, "more_taps")
    for group in ("activation", "pool", "gate", "add", "downsample"):
        yield from _elementwise_terms(group)
    yield from _linear_terms()


TERMS = {term.name: term for term in _all_terms()}
"""Every term by its name; a model has a coefficient for some of them."""
