"""Cut parts out of the images of a batch, to enlarge them or to hide them."""

from math import log

import torch
from torch import Tensor
from torch.nn import functional

ASPECTS = (3 / 4, 4 / 3)
"""Widths by heights of crops, as Inception's preprocessing has them."""
ERASED_AREAS = (0.02, 0.33)
ERASED_ASPECTS = (0.3, 3.3)
"""Of the paper (arXiv:1708.04896)."""


def resized_crop(
    batch: Tensor,
    size: int,
    generator: torch.Generator,
    *,
    min_scale: float = 0.08,
    flip: bool = True,
) -> Tensor:
    """Cut a random part out of each image and resize it, bilinear (Inception's crop).

    A part covers `min_scale` to 1 of the area; one that would be wider or higher than the image is
    cut off there. It is not smoothed where it shrinks.

    Args:
        batch: (N, channels, height, width), of any dtype on any device.
        size: height and width of the result in pixels.
        generator: what the draws come from, a CPU's.
        min_scale: the least share of the area, up to 1.
        flip: whether every second image is mirrored by chance.

    Returns:
        Images (N, channels, size, size) in the dtype and device of `batch`.
    """
    draws = torch.rand((5, len(batch)), generator=generator)
    area = min_scale + (1 - min_scale) * draws[0]
    low, high = map(log, ASPECTS)
    aspect = torch.exp(low + (high - low) * draws[1])
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    sign = torch.where(draws[4] < 0.5, -1.0, 1.0) if flip else torch.ones(len(batch))
    # In the units of affine_grid the image reaches from -1 to 1.
    maps = torch.zeros(len(batch), 2, 3)
    maps[:, 0, 0], maps[:, 0, 2] = width * sign, (1 - width) * (2 * draws[2] - 1)
    maps[:, 1, 1], maps[:, 1, 2] = height, (1 - height) * (2 * draws[3] - 1)
    shape = [len(batch), batch.shape[1], size, size]
    grid = functional.affine_grid(maps.to(batch.device), shape, align_corners=False)
    images = functional.grid_sample(
        batch.to(torch.float32), grid, padding_mode="border", align_corners=False
    )
    return images if batch.dtype.is_floating_point else images.round_().to(batch.dtype)


def erase(images: Tensor, generator: torch.Generator, *, share: float) -> Tensor:
    """Set a random rectangle to 0 in a share of the images (random erasing).

    Args:
        images: floats (N, channels, height, width), normalised, so that 0 is the mean.
        generator: what the draws come from, a CPU's.
        share: of the images, from 0 to 1.
    """
    n_images, _, height, width = images.shape
    draws = torch.rand((5, n_images), generator=generator)
    area = ERASED_AREAS[0] + (ERASED_AREAS[1] - ERASED_AREAS[0]) * draws[0]
    low, high = map(log, ERASED_ASPECTS)
    aspect = torch.exp(low + (high - low) * draws[1])
    is_erased = (draws[4] < share)[:, None]
    rows = is_erased & _inside((area / aspect).sqrt(), draws[2], height)
    columns = _inside((area * aspect).sqrt(), draws[3], width)
    mask = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(mask, 0)


def _inside(length: Tensor, place: Tensor, size: int) -> Tensor:
    """Return (N, size): which pixels lie in a stretch of `length` (a share) at a random place."""
    pixels = (length * size).round().clamp(1, size)
    start = (place * (size - pixels + 1)).floor()
    index = torch.arange(size)
    return (index >= start[:, None]) & (index < (start + pixels)[:, None])
