"""The weights that a network keeps when its widths are cut: those of the channels that count most.

A channel counts by the length of the filters that make it, with their batch-norm's scale in them
(NetAdapt keeps the filters of the greatest l2 norm, arXiv:1804.03230, section 3.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.network.blocks import BATCH_NORM_EPSILON
from nas.network.checkpoint import Checkpoint, prefixed, under

Weights = Mapping[str, Tensor]


def cropped(checkpoint: Checkpoint, arch: Arch) -> Checkpoint:
    """Return the checkpoint of `arch`, which is that of `checkpoint` with fewer channels.

    Channels stay in their order. Those that a residual adds together are chosen together.

    Raises:
        NasError: `arch` has other layers, or more channels somewhere.
    """
    layers = checkpoint.arch.layers
    _check(checkpoint.arch, arch)
    own = [under(f"layers.{number}.", checkpoint.weights) for number in range(len(layers))]
    weights: dict[str, Tensor] = {}
    kept = torch.arange(layers[0].in_channels)
    for number, layer in enumerate(layers):
        cut = arch.layers[number]
        if layer.residual:
            outs = kept
        else:
            norms = [_out_norms(layers[one], own[one]) for one in _sharing(layers, number)]
            outs = _best(sum(norms), cut.out_channels)
        part = _cut(layer, cut, own[number], kept, outs)
        weights |= prefixed(f"layers.{number}.", part)
        kept = outs
    return replace(checkpoint, arch=arch, weights=weights)


def _check(before: Arch, after: Arch) -> None:
    alike = len(before.layers) == len(after.layers) and all(
        replace(
            new,
            in_channels=old.in_channels,
            mid_channels=old.mid_channels,
            out_channels=old.out_channels,
            se=old.se,
            residual=old.residual,
        )
        == old
        and all(getattr(new, name) <= getattr(old, name) for name in _WIDTHS)
        and bool(new.se) == bool(old.se)
        and new.has_expansion == old.has_expansion
        for old, new in zip(before.layers, after.layers, strict=True)
    )
    if not alike:
        raise NasError(
            f"{after.name} must be {before.name} with fewer channels, but has other layers. Choose "
            "the checkpoint of the network that is cut."
        )


_WIDTHS = ("in_channels", "mid_channels", "out_channels", "se")


def _sharing(layers: Sequence[Layer], first: int) -> list[int]:
    """Return the layers whose outputs residuals add to that of the `first`, and itself."""
    sharing = [first]
    for number in range(first + 1, len(layers)):
        if not layers[number].residual:
            break
        sharing.append(number)
    return sharing


def _out_norms(layer: Layer, weights: Weights) -> Tensor:
    if layer.op == "head":
        return torch.ones(layer.out_channels)
    return _norms(weights, {"conv": "", "separable": "pointwise."}.get(layer.op, "body.project."))


def _norms(weights: Weights, prefix: str) -> Tensor:
    """Return the squared length of each filter of a convolution, its batch-norm folded in."""
    scale = weights[f"{prefix}norm.weight"].double()
    variance = weights[f"{prefix}norm.running_var"].double() + BATCH_NORM_EPSILON
    filters = weights[f"{prefix}conv.weight"].double().flatten(1)
    return filters.square().sum(dim=1) * scale.square() / variance


def _best(norms: Tensor | int, n: int) -> Tensor:
    return torch.as_tensor(norms).topk(n).indices.sort().values


def _cut(layer: Layer, cut: Layer, weights: Weights, ins: Tensor, outs: Tensor) -> Weights:
    if layer.op == "conv":
        return _convolution(weights, "", outs, ins)
    if layer.op == "separable":
        depthwise = _convolution(weights, "depthwise.", ins, None)
        return depthwise | _convolution(weights, "pointwise.", outs, ins)
    if layer.op == "head":
        first = "hidden" if layer.mid_channels else "classifier"
        return {**weights, f"{first}.weight": weights[f"{first}.weight"][:, ins]}
    return _block(layer, cut, weights, ins, outs)


def _block(layer: Layer, cut: Layer, weights: Weights, ins: Tensor, outs: Tensor) -> Weights:
    found: dict[str, Tensor] = {}
    mids = ins
    if layer.has_expansion:
        mids = _best(_mid_norms(weights), cut.mid_channels)
        found |= _convolution(weights, "body.expand.", mids, ins)
    found |= _convolution(weights, "body.depthwise.", mids, None)
    if layer.se:
        gated = outs if layer.se_at == "projection" else mids
        found |= _squeeze(under("body.se.", weights), gated, cut.se)
    return found | _convolution(weights, "body.project.", outs, mids)


def _mid_norms(weights: Weights) -> Tensor:
    """Return how much each expanded channel counts: its depthwise filter's and its readers' length.

    The expansion's own length is undone by the batch-norm behind it.
    """
    readers = weights["body.project.conv.weight"].double().flatten(1).square().sum(dim=0)
    return _norms(weights, "body.depthwise.") * readers


def _convolution(
    weights: Weights, prefix: str, outs: Tensor, ins: Tensor | None
) -> dict[str, Tensor]:
    """Return the filters `outs` on the channels `ins` (None: depthwise), with their batch-norm."""
    found = {}
    for name, one in under(prefix, weights).items():
        kept = one if one.dim() == 0 else one[outs]
        if name == "conv.weight" and ins is not None:
            kept = kept[:, ins]
        found[prefix + name] = kept
    return found


def _squeeze(weights: Weights, gated: Tensor, squeeze: int) -> dict[str, Tensor]:
    reduce = weights["reduce.weight"].double().flatten(1)[:, gated]
    expand = weights["expand.weight"].double().flatten(1)[gated]
    kept = _best(reduce.square().sum(dim=1) * expand.square().sum(dim=0), squeeze)
    return {
        "body.se.reduce.weight": weights["reduce.weight"][kept][:, gated],
        "body.se.reduce.bias": weights["reduce.bias"][kept],
        "body.se.expand.weight": weights["expand.weight"][gated][:, kept],
        "body.se.expand.bias": weights["expand.bias"][gated],
    }
