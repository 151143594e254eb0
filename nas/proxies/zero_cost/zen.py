"""Zen: how far a small change of the image moves the feature map (arXiv:2102.01063)."""

from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.proxies.zero_cost.probe import Probe, fresh_network, in_training_mode, noise, seeded

STEP = 0.01
"""Share of noise that is added to an image (alpha of the paper, gamma of its code)."""


def zen(features: nn.Module, images: Tensor, change: Tensor) -> float:
    """Return log E ||f(x + STEP n) - f(x)|| + the sum over batch-norms of the log of their std.

    `features` maps images x (N, channels, H, W) to feature maps f; `change` holds n of the same
    shape. A batch-norm's std is the root of the mean variance of its channels for x: it puts back
    the scale that the normalisation took out. The network itself is left as it was.
    """
    variances: list[float] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variances.append(float(inputs[0].var(dim=(0, 2, 3), correction=0).mean()))

    norms = [part for part in features.modules() if isinstance(part, nn.BatchNorm2d)]
    with in_training_mode(features), torch.no_grad():
        hooks = [norm.register_forward_pre_hook(keep) for norm in norms]
        try:
            here = features(images)
        finally:
            for hook in hooks:
                hook.remove()
        distances = (features(images + STEP * change) - here).flatten(1).norm(dim=1)
    return _log(float(distances.mean())) + sum(_log(variance) / 2 for variance in variances)


def zen_of(arch: Arch, probe: Probe) -> float:
    """Return Zen of the plain network: no shortcuts, no gates, no head, weights and images normal.

    So does the paper's code: a shortcut or gate would hide how expressive the convolutions are, and
    weights in any other scale would hide how wide they are.
    """
    plain = tuple(
        replace(layer, residual=False, se=0) if layer.op == "mbconv" else layer
        for layer in arch.layers
    )
    features = fresh_network(replace(arch, layers=plain), probe).layers[:-1]
    with seeded(probe.seed):
        for part in features.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight)
    images, change = (
        noise(probe, probe.batch_size, arch.layers[0].in_channels, stream) for stream in (4, 5)
    )
    return zen(features, images, change)


def _log(value: float) -> float:
    return log(value) if value > 0 else float("-inf")
