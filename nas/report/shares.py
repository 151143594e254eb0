"""What each kind of operation takes of a network's multiply-adds and weights."""

from dataclasses import dataclass

from nas.arch import Arch, Layer
from nas.ops import Op, ops_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The sums over one kind; weights are without biases and batch-norms, as the papers count."""

    kind: str
    macs: int
    weights: int


def shares_of(arch: Arch) -> list[Share]:
    """Return the kinds that have weights, by multiply-adds: `conv 1x1`, `depthwise 3x3`, ..."""
    sums: dict[str, tuple[int, int]] = {}
    for layer in arch.layers:
        for op in ops_of(layer):
            if op.weights:
                kind = _kind_of(layer, op)
                macs, weights = sums.get(kind, (0, 0))
                sums[kind] = (macs + op.macs, weights + op.weights)
    found = [Share(kind=kind, macs=one[0], weights=one[1]) for kind, one in sums.items()]
    return sorted(found, key=lambda share: -share.macs)


def _kind_of(layer: Layer, op: Op) -> str:
    if op.kind == "linear":
        return "fully connected" if layer.op == "head" else "squeeze-and-excite"
    return f"{op.kind} {op.kernel}x{op.kernel}"
