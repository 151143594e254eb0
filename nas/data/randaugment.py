"""RandAugment on whole batches (arXiv:1909.13719): each image gets random operations."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 30
"""The greatest magnitude."""
GREY = 128.0
"""Shown where an image was moved away, as in AutoAugment's code (tensorflow/models)."""


def randaugment(
    batch: Tensor, generator: torch.Generator, *, n_operations: int, magnitude: float
) -> Tensor:
    """Change each image by operations drawn for it alone, one after another.

    Args:
        batch: bytes (N, 1 or 3, height, width), on any device.
        generator: what the draws come from, a CPU's.
        n_operations: how many each image gets.
        magnitude: how strong they are, from 0 to 30; half of them go either way.

    Returns:
        Bytes in the shape and device of `batch`.
    """
    images = batch.to(torch.float32)
    level = magnitude / LEVELS
    for _ in range(n_operations):
        chosen = torch.randint(len(OPERATIONS), (len(batch),), generator=generator)
        signs = torch.randint(2, (len(batch),), generator=generator) * 2.0 - 1
        for number, operation in enumerate(OPERATIONS.values()):
            rows = (chosen == number).nonzero().flatten()
            if len(rows):
                levels = (level * signs[rows]).to(batch.device)
                rows = rows.to(batch.device)
                images[rows] = operation(images[rows], levels).round_().clamp_(0, 255)
    return images.to(torch.uint8)


def identity(images: Tensor, _: Tensor) -> Tensor:
    """Return the images as they are."""
    return images


def shear_x(images: Tensor, levels: Tensor) -> Tensor:
    """Shift rows by up to 0.3 of their distance from the middle."""
    return _moved(images, {(0, 1): 0.3 * levels})


def shear_y(images: Tensor, levels: Tensor) -> Tensor:
    """Shift columns likewise."""
    return _moved(images, {(1, 0): 0.3 * levels})


def translate_x(images: Tensor, levels: Tensor) -> Tensor:
    """Shift sideways by up to 0.45 of the width."""
    return _moved(images, {(0, 2): 0.9 * levels})


def translate_y(images: Tensor, levels: Tensor) -> Tensor:
    """Shift up or down by up to 0.45 of the height."""
    return _moved(images, {(1, 2): 0.9 * levels})


def rotate(images: Tensor, levels: Tensor) -> Tensor:
    """Turn by up to 30 degrees."""
    angles = levels * (pi / 6)
    cosines, sines = angles.cos(), angles.sin()
    return _moved(images, {(0, 0): cosines, (0, 1): -sines, (1, 0): sines, (1, 1): cosines})


def brightness(images: Tensor, levels: Tensor) -> Tensor:
    """Mix with black, or away from it."""
    return _blended(torch.zeros_like(images), images, levels)


def contrast(images: Tensor, levels: Tensor) -> Tensor:
    """Mix with the mean brightness, or away from it."""
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True).round()
    return _blended(mean.expand_as(images), images, levels)


def colour(images: Tensor, levels: Tensor) -> Tensor:
    """Mix with the image in grey, or away from it."""
    return _blended(_grey(images).expand_as(images), images, levels)


def sharpness(images: Tensor, levels: Tensor) -> Tensor:
    """Mix with a smoothed image, or away from it; the outermost pixels stay."""
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5
    n_channels = images.shape[1]
    weight = (kernel / kernel.sum()).expand(n_channels, 1, 3, 3)
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(images, weight, groups=n_channels).round()
    return _blended(smooth, images, levels)


def posterize(images: Tensor, levels: Tensor) -> Tensor:
    """Keep the 8 to 4 highest bits."""
    step = 2 ** (4 * levels.abs()).round().view(-1, 1, 1, 1)
    return (images / step).floor() * step


def solarize(images: Tensor, levels: Tensor) -> Tensor:
    """Turn pixels over that are brighter than 255 to 0."""
    threshold = 255 * (1 - levels.abs()).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to the whole range."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    stretched = (images - low) * (255 / (high - low).clamp_min(1))
    return torch.where(high > low, stretched.floor(), images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Make all brightnesses of a channel equally frequent, as Pillow does."""
    values = images.to(torch.int64).flatten(2)
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    brightest = counts.gather(2, values.amax(dim=2, keepdim=True))
    step = (values.shape[2] - brightest) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp_min(1)).clamp(max=255)
    equal = table.gather(2, values).view_as(images).to(images.dtype)
    return torch.where((step > 0)[..., None], equal, images)


Operation = Callable[[Tensor, Tensor], Tensor]
OPERATIONS: dict[str, Operation] = {
    one.__name__: one
    for one in (
        identity,
        shear_x,
        shear_y,
        translate_x,
        translate_y,
        rotate,
        brightness,
        contrast,
        colour,
        sharpness,
        posterize,
        solarize,
        autocontrast,
        equalize,
    )
}
"""Each maps floats (N, channels, H, W) of 0 to 255 and levels (N,) of -1 to 1 to such images."""


def _moved(images: Tensor, entries: dict[tuple[int, int], Tensor]) -> Tensor:
    """Return what an affine map, given by its entries beside 1 and 0, shows of the images."""
    maps = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    for (row, column), values in entries.items():
        maps[:, row, column] = values
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images - GREY, grid, align_corners=False) + GREY


def _blended(plain: Tensor, images: Tensor, levels: Tensor) -> Tensor:
    """Go from an image towards its plain form (negative levels) or away, by 0.9 at most."""
    return torch.lerp(plain, images, (1 + 0.9 * levels).view(-1, 1, 1, 1))


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601-2
    return (images * weights).sum(dim=1, keepdim=True).round()
