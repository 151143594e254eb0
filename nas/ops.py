"""What a layer computes, primitive by primitive: every count and cost is a sum over this list."""

from dataclasses import dataclass
from functools import lru_cache

from nas.arch import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One primitive on feature maps of `size` x `size` pixels (input) and `out_size` (output).

    Kinds: `conv` (dense, batch-norm), `depthwise` (batch-norm), `linear` (on a pooled vector, with
    bias), `pool` (global average), `gate` (times the squeeze-and-excite signal), `add` (residual).
    `act` is applied to the output.
    """

    kind: str
    size: int
    out_size: int
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    act: str = "none"

    @property
    def macs(self) -> int:
        """Return the multiply-adds of the convolution or linear map; other kinds have none."""
        return self.out_size**2 * self.weights

    @property
    def weights(self) -> int:
        """Return the number of weights without bias."""
        if self.kind == "depthwise":
            return self.kernel**2 * self.out_channels
        if self.kind in ("conv", "linear"):
            return self.kernel**2 * self.in_channels * self.out_channels
        return 0

    @property
    def params(self) -> int:
        """Return weights plus biases; a batch-norm counts as a weight and a bias a channel."""
        biases = {"conv": 2, "depthwise": 2, "linear": 1}.get(self.kind, 0)
        return self.weights + biases * self.out_channels

    @property
    def in_elements(self) -> int:
        """Return the number of input activations."""
        return self.size**2 * self.in_channels

    @property
    def out_elements(self) -> int:
        """Return the number of output activations."""
        return self.out_size**2 * self.out_channels


@lru_cache(maxsize=65536)
def ops_of(layer: Layer) -> tuple[Op, ...]:
    """Return the primitives of a layer in the order in which they run."""
    return _DECOMPOSE[layer.op](layer)


def _conv(layer: Layer) -> tuple[Op, ...]:
    return (_convolution(layer, "conv", layer.in_channels, layer.out_channels, layer.act),)


def _separable(layer: Layer) -> tuple[Op, ...]:
    return (
        _convolution(layer, "depthwise", layer.in_channels, layer.in_channels, layer.act),
        _pointwise(layer.out_size, layer.in_channels, layer.out_channels, layer.act),
    )


def _mbconv(layer: Layer) -> tuple[Op, ...]:
    mid, end = layer.mid_channels, layer.out_size
    ops = []
    if layer.has_expansion:
        ops.append(_pointwise(layer.size, layer.in_channels, mid, layer.act))
    ops += _gating(layer, "expansion", layer.size, mid)
    ops.append(_convolution(layer, "depthwise", mid, mid, layer.act))
    ops += _gating(layer, "depthwise", end, mid)
    last_act = "none" if layer.linear else layer.act
    ops.append(_pointwise(end, mid, layer.out_channels, last_act))
    ops += _gating(layer, "projection", end, layer.out_channels)
    if layer.residual:
        out = layer.out_channels
        ops.append(Op(kind="add", size=end, out_size=end, in_channels=out, out_channels=out))
    return tuple(ops)


def _gating(layer: Layer, place: str, size: int, channels: int) -> tuple[Op, ...]:
    """Return squeeze-and-excite on a map of that size, where the layer has it there."""
    if not layer.se or layer.se_at != place:
        return ()
    return (
        Op(kind="pool", size=size, out_size=1, in_channels=channels, out_channels=channels),
        _linear(channels, layer.se, "relu"),
        _linear(layer.se, channels, "hsigmoid"),
        Op(kind="gate", size=size, out_size=size, in_channels=channels, out_channels=channels),
    )


def _head(layer: Layer) -> tuple[Op, ...]:
    channels, hidden = layer.in_channels, layer.mid_channels
    pool = Op(kind="pool", size=layer.size, out_size=1, in_channels=channels, out_channels=channels)
    if not hidden:
        return (pool, _linear(channels, layer.out_channels, "none"))
    return (
        pool,
        _linear(channels, hidden, layer.act),
        _linear(hidden, layer.out_channels, "none"),
    )


def _convolution(layer: Layer, kind: str, in_channels: int, out_channels: int, act: str) -> Op:
    return Op(
        kind=kind,
        size=layer.size,
        out_size=layer.out_size,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel=layer.kernel,
        stride=layer.stride,
        act=act,
    )


def _pointwise(size: int, in_channels: int, out_channels: int, act: str) -> Op:
    return Op(
        kind="conv",
        size=size,
        out_size=size,
        in_channels=in_channels,
        out_channels=out_channels,
        act=act,
    )


def _linear(in_features: int, out_features: int, act: str) -> Op:
    return Op(
        kind="linear",
        size=1,
        out_size=1,
        in_channels=in_features,
        out_channels=out_features,
        act=act,
    )


_DECOMPOSE = {"conv": _conv, "separable": _separable, "mbconv": _mbconv, "head": _head}
