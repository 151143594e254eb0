"""The batches of a training in full: all that is drawn follows from the seed and the step."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nas.data.augment import shift_and_mirror
from nas.data.crop import erase, resized_crop
from nas.data.images import ImageData, Images
from nas.data.mixing import Mix, draw_mix
from nas.data.randaugment import randaugment
from nas.errors import NasError
from nas.training.batches import SHIFT, Batches
from nas.training.full.recipe import FullRecipe
from nas.training.recipe import Recipe

_ORDER, _AUGMENTATION, _MIX, _NETWORK = range(4)
"""What is drawn, so that no two purposes share their numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A part of a step's batch, on the device.

    images: floats (N, channels, size, size); labels: int64 (N,). Where images are mixed, `mix`
    says how, and each one's partner is the image before it.
    """

    images: Tensor
    labels: Tensor
    mix: Mix | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Feed:
    """Cuts the training images into steps, and each step into `n_parts` of equal size.

    A part is what one device computes at a time. Draws belong to a part's number, not to the
    process that has it: two devices train on the same images as one that accumulates two parts.
    """

    batches: Batches
    recipe: FullRecipe
    seed: int
    n_parts: int
    device: torch.device

    @classmethod
    def of(
        cls,
        data: ImageData,
        recipe: FullRecipe,
        *,
        size: int,
        seed: int,
        n_parts: int,
        device: torch.device,
        n_channels: int,
    ) -> Self:
        """Return the feed of a data set; images are shrunk once, unless crops want them whole.

        Raises:
            NasError: a batch that cannot be cut so, fewer images than that, or other channels.
        """
        _check_parts(recipe, n_parts, len(data.train))
        plain = Recipe(
            batch_size=recipe.batch_size,
            n_images=recipe.n_images,
            resolution=None if recipe.crop == "resized" else size,
        )
        place = device if _fits(data, device) else torch.device("cpu")
        batches = Batches.of(data, plain, device=place, n_channels=n_channels)
        batches = replace(
            batches, size=size, scale=batches.scale.to(device), offset=batches.offset.to(device)
        )
        return cls(batches=batches, recipe=recipe, seed=seed, n_parts=n_parts, device=device)

    @property
    def part_size(self) -> int:
        """Return the images of a part."""
        return min(self.recipe.batch_size, len(self.batches.train)) // self.n_parts

    @property
    def n_steps(self) -> int:
        """Return the steps of an epoch; images that are left over wait for the next."""
        return len(self.batches.train) // (self.part_size * self.n_parts)

    def order(self, epoch: int) -> Tensor:
        """Return the rows of the training images in the order of an epoch, from 0."""
        generator = torch.Generator().manual_seed(self.draw(_ORDER, epoch))
        return torch.randperm(len(self.batches.train), generator=generator)

    def part(self, order: Tensor, step: int, number: int) -> Part:
        """Return part `number` of a step, counted from the first epoch on."""
        start = (step % self.n_steps * self.n_parts + number) * self.part_size
        train = self.batches.train
        rows = order[start : start + self.part_size].to(train.labels.device)
        pixels = train.pixels[rows].to(self.device, non_blocking=True)
        labels = train.labels[rows].to(self.device, non_blocking=True)
        images, mix = self._augmented(pixels, step, number)
        return Part(images=images, labels=labels, mix=mix)

    def network_seed(self, step: int, number: int) -> int:
        """Return what the network's own draws, as those of dropout, start from at a part."""
        return self.draw(_NETWORK, step, number)

    def draw(self, purpose: int, *numbers: int) -> int:
        """Return 63 random bits for a purpose."""
        return int(np.random.default_rng([self.seed, purpose, *numbers]).integers(2**63))

    def on_device(self, images: Images) -> tuple[Tensor, Tensor]:
        """Return images as they are judged, and their labels, on the device."""
        pixels = images.pixels.to(self.device, non_blocking=True)
        return self.batches.normalised(pixels), images.labels.to(self.device, non_blocking=True)

    def _augmented(self, pixels: Tensor, step: int, number: int) -> tuple[Tensor, Mix | None]:
        recipe = self.recipe
        generator = torch.Generator().manual_seed(self.draw(_AUGMENTATION, step, number))
        if recipe.crop == "resized":
            pixels = resized_crop(
                pixels, self.batches.size, generator, min_scale=recipe.min_scale, flip=recipe.flip
            )
        elif recipe.crop == "shift" or recipe.flip:
            padding = int(SHIFT * pixels.shape[-1]) if recipe.crop == "shift" else 0
            pixels = shift_and_mirror(pixels, generator, padding=padding, flip=recipe.flip)
        if recipe.randaugment:
            pixels = randaugment(
                pixels,
                generator,
                n_operations=recipe.randaugment,
                magnitude=recipe.randaugment_magnitude,
            )
        images = self.batches.normalised(pixels)
        if recipe.erasing:
            images = erase(images, generator, share=recipe.erasing)
        if not (recipe.mixup or recipe.cutmix):
            return images, None
        rng = np.random.default_rng(self.draw(_MIX, step, number))
        mix = draw_mix(rng, size=images.shape[-1], mixup=recipe.mixup, cutmix=recipe.cutmix)
        return mix.apply(images), mix


def _check_parts(recipe: FullRecipe, n_parts: int, n_images: int) -> None:
    if recipe.batch_size % n_parts:
        raise NasError(
            f"recipe.batch_size must be a multiple of {n_parts} (devices times accumulate), but is "
            f"{recipe.batch_size}. Try {-(-recipe.batch_size // n_parts) * n_parts}."
        )
    size = min(recipe.batch_size, n_images, recipe.n_images or n_images) // n_parts
    if size < 2:
        raise NasError(
            f"a device must have at least 2 images at a time for its batch-norm, but has {size}: "
            f"{n_images} training images, recipe.batch_size {recipe.batch_size}, {n_parts} parts a "
            "step. Lower devices or accumulate, or raise recipe.batch_size."
        )


def _fits(data: ImageData, device: torch.device) -> bool:
    """Tell whether the images may stay on a device; a CPU has them already."""
    if device.type != "cuda":
        return True
    n_bytes = data.train.pixels.nbytes + data.validation.pixels.nbytes
    return n_bytes < 0.3 * torch.cuda.mem_get_info(device)[0]
