"""What the scores look at: a few images, and fresh weights under a seed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from nas.arch import ACT_WORDS, Arch
from nas.data.augment import resize
from nas.data.images import ImageData
from nas.errors import NasError, unknown
from nas.network.build import Network, build
from nas.text import integer

MAX_CODE_IMAGES = 64
"""A pattern over the images is packed in one word of 64 bits."""
_ACTS = tuple(act for act in ACT_WORDS if act != "none")
_BOUNDS = (
    ("size", 8, 512),
    ("batch_size", 2, 1024),  # batch-norm of one image at 1 x 1 pixels is not defined
    ("n_batches", 2, 64),
    ("n_code_images", 2, MAX_CODE_IMAGES),
    ("seed", 0, 2**31 - 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How a network is looked at; scores of equal probes may be compared.

    size: pixels that the network is built for, whatever the arch says. batch_size: images of the
    gradient scores and Zen. n_batches: batches of ZiCo. n_code_images: images of NASWOT and SWAP;
    8 images have only 2^8 patterns, which every network shows. seed: of weights, images, labels.
    act: activation that stands in for each of the network's; null: they stay. Gradients under
    h-swish are several times smaller than under ReLU, which says nothing about accuracy.
    """

    size: int = 32
    batch_size: int = 8
    n_batches: int = 2
    n_code_images: int = 32
    seed: int = 0
    act: str | None = None

    def __post_init__(self) -> None:
        if self.act is not None and self.act not in _ACTS:
            raise unknown("act of a probe:", self.act, _ACTS)
        for name, least, most in _BOUNDS:
            integer(getattr(self, name), f"{name} of a probe", least, most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Normalised images (N, channels, size, size), float32, and labels (N,), int64."""

    images: Tensor
    labels: Tensor


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's own generator as after `manual_seed(seed)`, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def fresh_network(arch: Arch, probe: Probe) -> Network:
    """Return the network as the probe looks at it, with the weights of `build` under the seed."""
    arch = _with_act(arch.scaled(resolution=probe.size), probe.act)
    with seeded(probe.seed):
        return build(arch, dropout=0).to(torch.float32).train()


def _with_act(arch: Arch, act: str | None) -> Arch:
    if act is None:
        return arch
    layers = (layer if layer.act == "none" else replace(layer, act=act) for layer in arch.layers)
    return replace(arch, layers=tuple(layers))


def generator(probe: Probe, stream: int) -> torch.Generator:
    """Return a generator of its own for each `stream`: none repeats the draws of the weights."""
    word = np.random.SeedSequence((probe.seed, stream)).generate_state(1)[0]
    return torch.Generator().manual_seed(int(word))


def noise(probe: Probe, n_images: int, channels: int, stream: int) -> Tensor:
    """Return standard normal images (N, channels, size, size)."""
    shape = (n_images, channels, probe.size, probe.size)
    return torch.randn(shape, generator=generator(probe, stream), dtype=torch.float32)


def draw(
    probe: Probe, data: ImageData | None, n_images: int, *, channels: int, n_classes: int
) -> Batch:
    """Return images of the training part with their labels, or noise with random labels.

    Raises:
        NasError: the network takes other channels than the images have, or they are too few.
    """
    if data is None:
        labels = torch.randint(n_classes, (n_images,), generator=generator(probe, 1))
        return Batch(images=noise(probe, n_images, channels, 2), labels=labels)
    if data.n_channels not in (1, channels):
        raise NasError(
            f"the images of {data.name} must have the {channels} channels that the network takes, "
            f"or be grey, but have {data.n_channels}. Choose other data or another space."
        )
    if len(data.train) < n_images:
        raise NasError(
            f"the training part of {data.name} must hold the {n_images} images that a score looks "
            f"at, but has {len(data.train)}. Lower batch_size, n_batches or n_code_images."
        )
    rows = torch.randperm(len(data.train), generator=generator(probe, 3))[:n_images]
    some = data.train[rows]
    mean, std = (each[:, None, None] for each in data.mean_and_std())
    images = (resize(some.pixels, probe.size).to(torch.float32) / 255 - mean) / std
    return Batch(images=images.expand(-1, channels, -1, -1).contiguous(), labels=some.labels)


@contextmanager
def in_training_mode(network: nn.Module) -> Iterator[None]:
    """Let batch-norms use each batch's own statistics; restore modes and running statistics."""
    modes = [(part, part.training) for part in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        network.train()
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
