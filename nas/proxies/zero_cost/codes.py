"""Scores from activation codes: NASWOT and SWAP.

A unit's code is whether its pre-activation is above 0, for ReLU, ReLU6 and h-swish alike: that is
where each of them leaves its flat side. The units inside squeeze-and-excite are left out: they bend
a gate, not the map from images to features.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.errors import NasError
from nas.network.blocks import SqueezeExcite
from nas.proxies.zero_cost.probe import MAX_CODE_IMAGES, in_training_mode

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish)
Codes = NDArray[np.bool_]
"""Whether a unit is active: (images, units)."""
_WORD_BYTES = MAX_CODE_IMAGES // 8


def activation_codes(network: nn.Module, images: Tensor) -> Codes:
    """Return the code of every unit of every activation for (N, channels, H, W) images.

    The network itself is left as it was.

    Raises:
        NasError: the network has no activation.
    """
    found: list[Codes] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append((inputs[0] > 0).flatten(1).numpy())

    hooks = [part.register_forward_pre_hook(keep) for part in _activations(network)]
    try:
        with in_training_mode(network), torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise NasError("NASWOT and SWAP need a network with activations, but this one has none.")
    return np.concatenate(found, axis=1)


def _activations(module: nn.Module) -> Iterator[nn.Module]:
    for part in module.children():
        if isinstance(part, ACTIVATIONS):
            yield part
        elif not isinstance(part, SqueezeExcite):
            yield from _activations(part)


def naswot(codes: Codes) -> float:
    """Return the log-determinant of the kernel of agreeing units (arXiv:2006.04647).

    Entry (i, j) is the number of units with the same code for images i and j; minus infinity where
    two images have the same codes.
    """
    signs = torch.from_numpy(codes).to(torch.float32) * 2 - 1
    products = (signs @ signs.T).to(torch.float64)  # agreeing less differing units
    return float(torch.linalg.slogdet((codes.shape[1] + products) / 2).logabsdet)


def swap(codes: Codes) -> float:
    """Return the number of different patterns that units show over the images (arXiv:2403.04161).

    Of up to `MAX_CODE_IMAGES` images; there can be no more patterns than units or 2^images.
    """
    packed = np.packbits(codes, axis=0).T
    words = np.zeros((len(packed), _WORD_BYTES), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    return float(len(np.unique(words.view(np.uint64))))
