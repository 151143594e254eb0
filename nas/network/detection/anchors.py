"""The boxes that SSD starts from: a few shapes at every pixel of every map."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Self

import torch
from torch import Tensor

from nas.errors import NasError

MIN_SCALE, MAX_SCALE = 0.2, 0.95
RATIOS = (2.0, 0.5, 3.0, 1 / 3)
# TensorFlow's detection API gives the finest map three shapes, the square one of half the scale.
_FINEST_SQUARE = 0.1
Shape = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """The shapes (width, height) at a pixel of each map, in shares of the image's sides."""

    shapes: tuple[tuple[Shape, ...], ...]

    @classmethod
    def of_ssd(cls, n_maps: int, *, is_finest_reduced: bool = True) -> Self:
        """Return SSD's: scales from 0.2 to 0.95, ratios 1, 2, 1/2, 3, 1/3 (arXiv:1512.02325).

        Each map has a second square between its scale and the next. `is_finest_reduced` leaves
        the finest map three shapes, as the detectors of the MobileNet papers have it;
        torchvision's has six there.

        Raises:
            NasError: there are less than two maps.
        """
        if n_maps < 2:
            raise NasError(f"anchors must be for at least 2 maps, but there are {n_maps}.")
        step = (MAX_SCALE - MIN_SCALE) / (n_maps - 1)
        scales = [*(MIN_SCALE + step * number for number in range(n_maps)), 1.0]
        shapes = [_shapes(scale, following) for scale, following in pairwise(scales)]
        if is_finest_reduced:
            square = (_FINEST_SQUARE, _FINEST_SQUARE)
            shapes[0] = (square, _shape(MIN_SCALE, 2.0), _shape(MIN_SCALE, 0.5))
        return cls(shapes=tuple(shapes))

    @property
    def n_per_pixel(self) -> tuple[int, ...]:
        """Return the number of shapes of each map."""
        return tuple(map(len, self.shapes))

    def boxes(self, sizes: Sequence[tuple[int, int]], device: torch.device | None = None) -> Tensor:
        """Return all boxes (A, 4) of maps of these heights and widths: left, top, right, bottom.

        They are in shares of the image, map by map, row by row, pixel by pixel, shape by shape.
        """
        found = [
            _boxes(shapes, *size, device) for shapes, size in zip(self.shapes, sizes, strict=True)
        ]
        return torch.cat(found)


def _shapes(scale: float, following: float) -> tuple[Shape, ...]:
    between = sqrt(scale * following)
    return ((scale, scale), (between, between), *(_shape(scale, ratio) for ratio in RATIOS))


def _shape(scale: float, ratio: float) -> Shape:
    return (scale * sqrt(ratio), scale / sqrt(ratio))


def _boxes(shapes: Sequence[Shape], height: int, width: int, device: torch.device | None) -> Tensor:
    rows = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    columns = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y], -1)[:, :, None, :]
    halves = torch.tensor(shapes, device=device, dtype=torch.float32) / 2
    return torch.cat([centres - halves, centres + halves], -1).reshape(-1, 4)
