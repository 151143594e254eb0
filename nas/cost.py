"""MAdds, parameters and peak activation memory in closed form."""

from functools import lru_cache

from nas.arch import Arch, Layer
from nas.ops import Op, ops_of

BYTES_PER_FLOAT = 4


def count_macs(network: Arch | Layer) -> int:
    """Return the multiply-adds of one image; pools, gates, adds and biases count as none."""
    return sum(_macs(layer) for layer in _layers(network))


def count_params(network: Arch | Layer) -> int:
    """Return the parameters; a batch-norm counts as a weight and a bias a channel."""
    return sum(_params(layer) for layer in _layers(network))


def peak_memory_bytes(network: Arch | Layer, bytes_per_value: int = BYTES_PER_FLOAT) -> int:
    """Return the most bytes of activations alive at once, for one image.

    A primitive holds its input and its output; the block's input stays alive until the residual
    addition, and the gated feature map while its gate is computed. Activations, the gate and the
    addition work in place. Weights and the runtime's scratch memory are not counted.
    """
    return bytes_per_value * max(_peak_elements(layer) for layer in _layers(network))


def _layers(network: Arch | Layer) -> tuple[Layer, ...]:
    return (network,) if isinstance(network, Layer) else network.layers


@lru_cache(maxsize=65536)
def _macs(layer: Layer) -> int:
    return sum(op.macs for op in ops_of(layer))


@lru_cache(maxsize=65536)
def _params(layer: Layer) -> int:
    return sum(op.params for op in ops_of(layer))


@lru_cache(maxsize=65536)
def _peak_elements(layer: Layer) -> int:
    ops = ops_of(layer)
    block_input = ops[0].in_elements
    gated = max((op.in_elements for op in ops if op.kind == "gate"), default=0)
    return max(
        _alive(op) + _held(op, is_first=op is ops[0], layer=layer, held=(block_input, gated))
        for op in ops
    )


def _alive(op: Op) -> int:
    in_place = op.kind in ("add", "gate")
    return op.in_elements + (0 if in_place else op.out_elements)


def _held(op: Op, *, is_first: bool, layer: Layer, held: tuple[int, int]) -> int:
    block_input, gated = held
    shortcut = block_input if layer.residual and not is_first else 0
    # While the squeeze vector is computed, the feature map that it will gate waits.
    return shortcut + (gated if op.kind == "linear" and layer.op == "mbconv" else 0)
