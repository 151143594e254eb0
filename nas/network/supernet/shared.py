"""The shared weights of one place, and the slice of them that a layer takes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from nas.arch import Layer
from nas.network.checkpoint import prefixed

Weights = Mapping[str, Tensor]
"""Tensors by their names in the `state_dict` of the layer's own module."""


def kind_of(layer: Layer) -> str:
    """Return what a layer must be alike in to share weights with another at its place.

    A block without expansion works on other features than one whose middle is made of a product,
    so that the two share nothing; the same holds for a classifier with a hidden layer.
    """
    if layer.op == "mbconv":
        return "mbconv" if layer.has_expansion else "plain"
    if layer.op == "head":
        return "hidden" if layer.mid_channels else "head"
    return layer.op


def shared(layers: Sequence[Layer]) -> nn.Module:
    """Return the weights that layers of one kind share at a place: `forward(layer) -> Weights`."""
    kinds: dict[str, type[SharedConv] | type[SharedBlock] | type[SharedHead]] = {
        "conv": SharedConv,
        "mbconv": SharedBlock,
        "plain": SharedBlock,
        "hidden": SharedHead,
        "head": SharedHead,
    }
    return kinds[kind_of(layers[0])](layers)


class SharedKernel(nn.Module):
    """A convolution's weights (out, in, k, k) for the largest kernel of several.

    A smaller kernel is the centre of the next larger one, times a learned matrix that all channels
    share (once-for-all, arXiv:1908.09791, section 3.3). What is learned is the matrix's difference
    from the identity, so that weight decay leads back to the plain centre.
    """

    def __init__(self, out_channels: int, in_channels: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.kernels = sorted(set(kernels), reverse=True)
        largest = self.kernels[0]
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, largest, largest))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.transforms = nn.ParameterList(
            torch.zeros(kernel**2, kernel**2) for kernel in self.kernels[1:]
        )

    def forward(self, out_channels: int, in_channels: int, kernel: int) -> Tensor:
        """Return the weights (out, in, kernel, kernel) of the first channels."""
        weight = self.weight[:out_channels, :in_channels]
        steps = zip(pairwise(self.kernels), self.transforms, strict=True)
        for (larger, smaller), transform in steps:
            if kernel == larger:
                break
            margin = (larger - smaller) // 2
            centre = weight[..., margin:-margin, margin:-margin].flatten(2)
            weight = (centre + centre @ transform).unflatten(2, (smaller, smaller))
        return weight


class SharedNorm(nn.Module):
    """The scale and shift of batch-norms; a row for each activation, with and without SE.

    What follows a normalisation decides which scale suits it, and the rows cost next to nothing.
    """

    def __init__(self, channels: int, layers: Sequence[Layer]) -> None:
        super().__init__()
        rows = sorted({self._row_of(layer) for layer in layers})
        self._rows = {row: number for number, row in enumerate(rows)}
        # A vector a row: those of one dimension are what the optimizer does not decay.
        self.weights = nn.ParameterList(torch.ones(channels) for _ in rows)
        self.biases = nn.ParameterList(torch.zeros(channels) for _ in rows)

    def forward(self, layer: Layer, channels: int) -> dict[str, Tensor]:
        """Return the weight and the bias of the first channels."""
        row = self._rows[self._row_of(layer)]
        return {"weight": self.weights[row][:channels], "bias": self.biases[row][:channels]}

    @staticmethod
    def _row_of(layer: Layer) -> tuple[str, bool]:
        return layer.act, layer.se > 0


class SharedConvNorm(nn.Module):
    """A convolution and its batch-norm, as `ConvNorm` holds them."""

    def __init__(
        self, out_channels: int, in_channels: int, kernels: Sequence[int], layers: Sequence[Layer]
    ) -> None:
        super().__init__()
        self.conv = SharedKernel(out_channels, in_channels, kernels)
        self.norm = SharedNorm(out_channels, layers)

    def forward(self, layer: Layer, out_channels: int, in_channels: int, kernel: int) -> Weights:
        """Return the weights of the first channels for a layer."""
        return {
            "conv.weight": self.conv(out_channels, in_channels, kernel),
            **prefixed("norm.", self.norm(layer, out_channels)),
        }


class SharedConv(nn.Module):
    """The weights of dense convolutions."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        out_channels, in_channels = _most(layers, "out_channels"), _most(layers, "in_channels")
        kernels = [layer.kernel for layer in layers]
        self.body = SharedConvNorm(out_channels, in_channels, kernels, layers)

    def forward(self, layer: Layer) -> Weights:
        """Return the weights of one layer."""
        weights: Weights = self.body(layer, layer.out_channels, layer.in_channels, layer.kernel)
        return weights


class SharedBlock(nn.Module):
    """The weights of mbconv blocks, all of them with an expansion or all without."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        ins, mids, outs = (_most(layers, f"{part}_channels") for part in ("in", "mid", "out"))
        kernels = [layer.kernel for layer in layers]
        squeeze = _most(layers, "se")
        parts: dict[str, nn.Module] = {}
        if kind_of(layers[0]) == "mbconv":
            parts["expand"] = SharedConvNorm(mids, ins, [1], layers)
        parts["depthwise"] = SharedConvNorm(mids, 1, kernels, layers)
        if squeeze:
            parts["se"] = SharedSqueeze(mids, squeeze)
        parts["project"] = SharedConvNorm(outs, mids, [1], layers)
        self.body = nn.ModuleDict(parts)

    def forward(self, layer: Layer) -> Weights:
        """Return the weights of one layer."""
        ins, mids, outs = layer.in_channels, layer.mid_channels, layer.out_channels
        sizes = {
            "expand": (layer, mids, ins, 1),
            "depthwise": (layer, mids, 1, layer.kernel),
            "se": (mids, layer.se),
            "project": (layer, outs, mids, 1),
        }
        weights: dict[str, Tensor] = {}
        for name, part in self.body.items():
            if name != "se" or layer.se:
                weights |= prefixed(f"body.{name}.", part(*sizes[name]))
        return weights


class SharedSqueeze(nn.Module):
    """The weights of squeeze-and-excite."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.reduce = SharedKernel(squeeze, channels, [1])
        self.reduce_bias = nn.Parameter(torch.zeros(squeeze))
        self.expand = SharedKernel(channels, squeeze, [1])
        self.expand_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, channels: int, squeeze: int) -> Weights:
        """Return the weights of the first channels."""
        return {
            "reduce.weight": self.reduce(squeeze, channels, 1),
            "reduce.bias": self.reduce_bias[:squeeze],
            "expand.weight": self.expand(channels, squeeze, 1),
            "expand.bias": self.expand_bias[:channels],
        }


class SharedLinear(nn.Module):
    """The weights of linear maps."""

    def __init__(self, out_features: int, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.normal_(self.weight, std=0.01)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, out_features: int, in_features: int) -> Weights:
        """Return the weights of the first features."""
        return {
            "weight": self.weight[:out_features, :in_features],
            "bias": self.bias[:out_features],
        }


class SharedHead(nn.Module):
    """The weights of heads, all of them with a hidden layer or all without."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        features, hidden = _most(layers, "in_channels"), _most(layers, "mid_channels")
        parts: dict[str, nn.Module] = {}
        if hidden:
            parts["hidden"] = SharedLinear(hidden, features)
        parts["classifier"] = SharedLinear(_most(layers, "out_channels"), hidden or features)
        self.body = nn.ModuleDict(parts)

    def forward(self, layer: Layer) -> Weights:
        """Return the weights of one layer."""
        hidden = layer.mid_channels
        sizes = {
            "hidden": (hidden, layer.in_channels),
            "classifier": (layer.out_channels, hidden or layer.in_channels),
        }
        weights: dict[str, Tensor] = {}
        for name, part in self.body.items():
            weights |= prefixed(f"{name}.", part(*sizes[name]))
        return weights


def _most(layers: Sequence[Layer], name: str) -> int:
    return max(int(getattr(layer, name)) for layer in layers)
