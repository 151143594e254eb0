"""Augmentation and resizing of whole batches: no loop over images, the same draws for a seed."""

import torch
from torch import Tensor
from torch.nn import functional

from nas.errors import NasError


def shift_and_mirror(
    batch: Tensor, generator: torch.Generator, *, padding: int = 4, flip: bool = True
) -> Tensor:
    """Shift each image by up to `padding` pixels each way, and mirror every second one by chance.

    It is the random crop with padding and the horizontal flip of the ResNet paper
    (arXiv:1512.03385, 4.2), but what a shift uncovers shows the image mirrored at its edge instead
    of zeros, so that it may come before or after the images are normalised.

    Args:
        batch: (N, channels, height, width), of any dtype on any device.
        generator: what the draws come from; where it is the CPU's, they are the same for a batch
            on any device.
        padding: the farthest shift in pixels; less than height and width.
        flip: whether images are mirrored. Digits and letters must not be.

    Returns:
        The images in the shape, dtype and device of `batch`.
    """
    n_images, n_channels, height, width = batch.shape
    if not 0 <= padding < min(height, width):
        raise NasError(
            f"padding must be from 0 to {min(height, width) - 1} for images of {width} x {height} "
            f"pixels, but is {padding}."
        )
    place = generator.device
    shifts = torch.randint(
        -padding, padding + 1, (2, n_images, 1), generator=generator, device=place
    )
    coins = torch.rand((n_images, 1), generator=generator, device=place)
    rows = _mirrored_at_edges(torch.arange(height, device=place) + shifts[0], height)
    columns = _mirrored_at_edges(torch.arange(width, device=place) + shifts[1], width)
    if flip:
        columns = torch.where(coins < 0.5, columns.flip(1), columns)
    # One gather over flat pixels: 2 to 4 times as fast as indexing by rows and columns.
    pixels = (rows[:, :, None] * width + columns[:, None, :]).to(batch.device)
    index = pixels.view(n_images, 1, -1).expand(-1, n_channels, -1)
    return batch.reshape(n_images, n_channels, -1).gather(2, index).view_as(batch)


def resize(batch: Tensor, size: int) -> Tensor:
    """Return square images of `size` pixels, bilinear, smoothed before they are shrunk.

    `batch` is (N, channels, height, width), bytes or floats; its dtype is kept. A batch that has
    the size already is returned as it is.
    """
    if tuple(batch.shape[-2:]) == (size, size):
        return batch
    is_shrunk = size < max(batch.shape[-2:])
    if batch.dtype.is_floating_point:
        return _interpolate(batch, size, is_shrunk)
    if batch.dtype == torch.uint8 and batch.device.type == "cpu":
        return _interpolate(
            batch, size, is_shrunk
        )  # Three times as fast; a GPU has no such kernel.
    smooth = _interpolate(batch.to(torch.float32), size, is_shrunk)
    return smooth.round_().clamp_(0, 255).to(batch.dtype)


def _interpolate(batch: Tensor, size: int, is_shrunk: bool) -> Tensor:
    return functional.interpolate(
        batch, size=(size, size), mode="bilinear", antialias=is_shrunk, align_corners=False
    )


def _mirrored_at_edges(index: Tensor, length: int) -> Tensor:
    """Fold indices beyond 0 and `length` - 1 back inside."""
    return (length - 1) - ((length - 1) - index.abs()).abs()
