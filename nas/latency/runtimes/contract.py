"""What every runtime answers, and the modules that are exported through it."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Protocol
from zlib import crc32

import torch
from torch import Tensor, nn

from nas.arch import Layer
from nas.errors import NasError
from nas.network.blocks import Head
from nas.network.build import Network, build_layer

# Torch draws convolutions so small that the signal fades to 1e-10 in a whole network, and numbers
# below 1e-38 are slow on some CPUs. With this the mean of a signal stays within 0.02 to 200.
WEIGHT_GAIN = 5**0.5


class Runtime(Protocol):
    """Make model files that compute what torch computes; `open_session(name, ...)` runs them."""

    @property
    def name(self) -> str:
        """Return the name that hardware files and `open_session` give it."""

    @property
    def dtype(self) -> str:
        """Return `fp32` or `int8`."""

    @property
    def mode(self) -> str | None:
        """Return the variant of a runtime that has several."""

    @property
    def options(self) -> Mapping[str, str]:
        """Return what `open_session` must be told to run the files."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Return every package that decides the file or the times, the runtime first.

        Raises:
            NasError: one is not installed.
        """

    @property
    def suffix(self) -> str:
        """Return how the names of model files end."""

    @property
    def is_slow(self) -> bool:
        """Tell whether an export takes so long that files are worth keeping."""

    def export(
        self,
        module: nn.Module,
        images: Tensor,
        *,
        calibration: Tensor | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the model file of a module in eval mode, for inputs of the shape of `images`.

        Numbers of 8 bits take the ranges that `calibration` has, images of that shape but for
        their number; by default those of `images` and of noise. `facts` are kept in the file as its
        format keeps metadata.

        Raises:
            NasError: a package is missing, or the module has a part that cannot be exported.
        """


@lru_cache(maxsize=512)
def layer_module(layer: Layer) -> tuple[nn.Module, Tensor]:
    """Return a layer with weights that its text decides, in eval mode, and one image of noise.

    Networks hold the layers of a table many times over, so modules are kept: to be exported, not to
    be changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(crc32(str(layer).encode()))
        module = build_layer(layer).eval()
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.data *= WEIGHT_GAIN
        return module, torch.randn(1, layer.in_channels, layer.size, layer.size)


def chain_module(layers: Sequence[Layer]) -> tuple[nn.Module, Tensor]:
    """Return layers in a row, with the weights that each has alone, and one image of noise."""
    modules: list[nn.Module] = []
    for number, layer in enumerate(layers):
        module, _ = layer_module(layer)
        # Twice in a network, a layer has weights twice.
        modules.append(deepcopy(module) if layer in layers[:number] else module)
    return nn.Sequential(*modules).eval(), layer_module(layers[0])[1]


def takes_floats(images: Tensor) -> bool:
    """Tell whether an 8-bit model of these images takes them as floats: those of a camera.

    Inside a network a block takes 8-bit numbers and gives 8-bit numbers: timed alone with floats,
    every row of a table would pay for conversions that the network makes once.
    """
    return images.shape[1] <= 3


def gives_floats(module: nn.Module) -> bool:
    """Tell whether the 8-bit model of a module gives floats: logits."""
    return isinstance(module, (Head, Network)) or (
        isinstance(module, nn.Sequential) and isinstance(module[-1], Head)
    )


def package_versions(extra: str, *distributions: str) -> dict[str, str]:
    """Return the versions of installed distributions.

    Raises:
        NasError: one is missing; `nas-cpu[<extra>]` installs it.
    """
    versions = {}
    for distribution in distributions:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise NasError(
                f"this needs the package {distribution}, which is not installed. "
                f'Install it: pip install "nas-cpu[{extra}]"'
            ) from error
    return versions
