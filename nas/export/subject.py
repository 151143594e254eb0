"""The network to export: a checkpoint's, or one with random weights."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.data.augment import resize
from nas.data.images import ImageData
from nas.errors import NasError, shown
from nas.export.metadata import metadata
from nas.network.build import Network, build
from nas.network.checkpoint import Checkpoint

COLOURS = (1, 3)
"""Channels of an image: grey, or red, green and blue."""
N_NOISE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A network in eval mode, and what its user must know; see `Checkpoint`.

    Raises:
        NasError: a number of classes or channels does not fit the arch.
    """

    arch: Arch
    network: Network
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_trained: bool

    def __post_init__(self) -> None:
        arch, n_channels = self.arch, self.arch.layers[0].in_channels
        if len(self.classes) != arch.num_classes:
            raise NasError(
                f"{arch.name} tells {arch.num_classes} classes apart, but its checkpoint names "
                f"{len(self.classes)}. Train again, or correct the checkpoint."
            )
        if n_channels not in COLOURS:
            raise NasError(
                f"a network to export must take 1 or 3 channels, but {arch.name} takes "
                f"{n_channels}. Choose another."
            )
        if not len(self.mean) == len(self.std) == n_channels:
            raise NasError(
                f"{arch.name} takes {n_channels} channels, but its checkpoint has "
                f"{len(self.mean)} means and {len(self.std)} deviations. Train again."
            )

    def facts(self, dtype: str) -> dict[str, str]:
        """Return what the file says of itself."""
        return metadata(
            self.arch,
            classes=self.classes,
            mean=self.mean,
            std=self.std,
            dtype=dtype,
            is_trained=self.is_trained,
        )

    def check_data(self, data: ImageData) -> None:
        """Refuse data that the network was not trained to tell apart.

        Raises:
            NasError: other classes, or colour images for a network that takes grey ones.
        """
        if data.classes != self.classes:
            raise NasError(
                f"{data.name} must have the classes of the checkpoint in their order, "
                f"{_counted(self.classes)}, but has {_counted(data.classes)}. Choose the data that "
                "the network was trained on."
            )
        if data.n_channels not in (1, len(self.mean)):
            raise NasError(
                f"images of {data.name} have {data.n_channels} channels, but {self.arch.name} "
                f"takes {len(self.mean)}. Choose the data that it was trained on."
            )

    def inputs(self, pixels: Tensor) -> Tensor:
        """Map bytes (N, 1 or channels, H, W) to the floats (N, channels, size, size) it takes."""
        mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in (self.mean, self.std))
        floats = resize(pixels, self.arch.resolution).to(torch.float32) / 255
        return (floats - mean) / std

    def noise(self) -> Tensor:
        """Return normal noise of the shape of images, alike in every call."""
        return _noise(self.arch)


def trained(path: str | Path, arch: Arch | None, resolution: int | None) -> Subject:
    """Return a checkpoint's network, for images of `resolution` pixels (None: as it was trained).

    `arch` is what the caller takes it for. Of it, the resolution and the number of classes do not
    count: training takes them from the data.

    Raises:
        NasError: the checkpoint cannot be read, or holds another network than `arch`.
    """
    checkpoint = Checkpoint.load(path)
    if arch is not None:
        _check_same(checkpoint.arch, arch, path)
    own = checkpoint.arch
    return Subject(
        arch=own if resolution in (None, own.resolution) else own.scaled(1.0, resolution),
        network=checkpoint.network(),
        classes=checkpoint.classes,
        mean=checkpoint.mean,
        std=checkpoint.std,
        is_trained=True,
    )


def untrained(arch: Arch) -> Subject:
    """Return a network with random weights, the same in every call, to measure its latency.

    Its batch-norms have seen noise: otherwise the signal would fade in a deep network until its
    numbers are too small for the CPU's usual pace.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(arch)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        with torch.no_grad():
            network.train()(_noise(arch))
    network.eval()
    n_channels = arch.layers[0].in_channels
    return Subject(
        arch=arch,
        network=network,
        classes=tuple(map(str, range(arch.num_classes))),
        mean=(0.0,) * n_channels,
        std=(1.0,) * n_channels,
        is_trained=False,
    )


def _noise(arch: Arch) -> Tensor:
    generator, size = torch.Generator().manual_seed(0), arch.resolution
    return torch.randn(N_NOISE, arch.layers[0].in_channels, size, size, generator=generator)


def _check_same(own: Arch, arch: Arch, path: str | Path) -> None:
    other = arch.scaled(1.0, own.resolution).with_num_classes(own.num_classes)
    pairs = zip_longest(own.layers, other.layers, fillvalue="none")
    for number, (layer, its) in enumerate(pairs, start=1):
        if layer != its:
            raise NasError(
                f"checkpoint={path} and arch={arch.name} must be one network, but layer {number} "
                f"is `{layer}` there and `{its}` here. Leave arch= out: the checkpoint has its own."
            )


def _counted(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} ({shown(', '.join(classes))})"
