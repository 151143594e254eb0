"""Feed a data set to a network: whole batches, resized, augmented and normalised on the device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.data.augment import resize, shift_and_mirror
from nas.data.images import ImageData, Images
from nas.errors import NasError, shown
from nas.network.checkpoint import Checkpoint
from nas.training.recipe import Recipe

SHIFT = 1 / 8
"""Share of the size by which images are shifted at most: 4 of 32 pixels (arXiv:1512.03385, 4.2)."""
VALIDATION_BATCH = 256
_RESIZED_AT_ONCE = 1024


def device_named(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA where there is one, else the CPU.

    Raises:
        NasError: torch knows no such device, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise NasError(
            f"device {shown(name)} cannot be used: {reason} Choose auto, cpu or cuda."
        ) from error
    return device


def input_channels(network: nn.Module) -> int:
    """Return the channels that a network's first convolution takes, 3 where it has none."""
    convolutions = (part for part in network.modules() if isinstance(part, nn.Conv2d))
    first = next(convolutions, None)
    return 3 if first is None else first.in_channels


def suited(data: ImageData, recipe: Recipe) -> ImageData:
    """Return the data that a recipe trains on: `n_images`, none larger than its resolution.

    Which images those are depends on the data alone, so that all networks learn from the same.
    They are shrunk here, once, but enlarged batch by batch, as that costs more room than time. Data
    that are suited already come back as they are, so that many trainings pay once.
    """
    train, size = data.train, min(data.size, recipe.resolution or data.size)
    if recipe.n_images and recipe.n_images < len(train):
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        train = train[shuffled[: recipe.n_images]]
    if train is data.train and size == data.size:
        return data
    return replace(data, train=_shrunk(train, size), validation=_shrunk(data.validation, size))


def _shrunk(images: Images, size: int) -> Images:
    if images.pixels.shape[-1] == size:
        return images
    parts = [resize(part, size) for part in torch.split(images.pixels, _RESIZED_AT_ONCE)]
    return replace(images, pixels=torch.cat(parts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The train and validation images of a data set, as a network under a recipe takes them.

    Images are floats (N, channels, size, size) in channels-last order with mean 0 and deviation 1
    in each channel, labels int64 (N,), both on the device.
    """

    train: Images
    validation: Images
    recipe: Recipe
    size: int
    scale: Tensor
    offset: Tensor

    @classmethod
    def of(
        cls, data: ImageData, recipe: Recipe, *, device: torch.device, n_channels: int = 3
    ) -> Self:
        """Put the data on the device; grey images are repeated to `n_channels`.

        Raises:
            NasError: colour images for a network that takes another number of channels.
        """
        if data.n_channels not in (1, n_channels):
            raise NasError(
                f"a network that takes {n_channels} channels cannot learn from {data.name}, whose "
                f"images have {data.n_channels}. Choose other data, or a space with such a stem."
            )
        data = suited(data, recipe)
        mean, std = data.mean_and_std()
        shape = (1, n_channels, 1, 1)
        scale, offset = 1 / (255 * std), -mean / std
        return cls(
            train=_on(data.train, device),
            validation=_on(data.validation, device),
            recipe=recipe,
            size=recipe.resolution or data.size,
            scale=scale.to(device).view(1, -1, 1, 1).expand(shape),
            offset=offset.to(device).view(1, -1, 1, 1).expand(shape),
        )

    @property
    def n_steps(self) -> int:
        """Return the batches of one pass over the training images."""
        return max(1, len(self.train) // self.recipe.batch_size)

    def one_pass(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training images once in a new order, augmented, and their labels.

        All batches are of the recipe's size: what is left over waits for another pass, as the
        batch-norm of a few images would harm more than they teach. Draws come from `generator`, a
        CPU's.
        """
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        for rows in torch.split(order, self.recipe.batch_size)[: self.n_steps]:
            pixels = self.train.pixels[rows]
            if self.recipe.augment:
                padding = int(SHIFT * pixels.shape[-1])
                pixels = shift_and_mirror(pixels, generator, padding=padding, flip=self.recipe.flip)
            yield self.normalised(pixels), self.train.labels[rows]

    def validation_batches(
        self, n_images: int | None = None, batch_size: int = VALIDATION_BATCH
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images as they are, spread over the part if only `n_images`."""
        every = max(1, -(-len(self.validation) // (n_images or len(self.validation))))
        images = self.validation if every == 1 else self.validation[slice(None, None, every)]
        for start in range(0, len(images), batch_size):
            part = images[slice(start, start + batch_size)]
            yield self.normalised(part.pixels), part.labels

    def normalised(self, pixels: Tensor) -> Tensor:
        """Map bytes (N, 1 or channels, H, W) to the floats that networks take."""
        floats = resize(pixels, self.size).to(torch.float32)
        return torch.addcmul(self.offset, floats, self.scale).contiguous(
            memory_format=torch.channels_last
        )

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Return what is taken off and divided by, of images in 0 to 1: (1, channels, 1, 1)."""
        std = 1 / (255 * self.scale.cpu())
        return -self.offset.cpu() * std, std

    def checkpoint(
        self, arch: Arch, weights: Mapping[str, Tensor], classes: Sequence[str]
    ) -> Checkpoint:
        """Return the checkpoint of a network that takes its images as they are given here."""
        channels = arch.layers[0].in_channels
        mean, std = (one.flatten().expand(channels).tolist() for one in self.mean_and_std())
        return Checkpoint(
            arch=arch,
            weights=weights,
            classes=tuple(classes),
            mean=tuple(mean),
            std=tuple(std),
        )


def _on(images: Images, device: torch.device) -> Images:
    return Images(pixels=images.pixels.to(device), labels=images.labels.to(device))
