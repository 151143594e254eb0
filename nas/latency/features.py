"""Count what the primitives of layers do, and sum the cost model's terms over each layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

import numpy as np

from nas.arch import Layer
from nas.latency.terms import TILES, Array, Counts, Term
from nas.ops import Op, ops_of

PRICED_ACTS = ("relu", "relu6", "hswish")
Columns = dict[str, Array]
_FIELDS = ("size", "out_size", "in_channels", "out_channels", "kernel")
_fields_of = attrgetter(*_FIELDS)


def priced_ops(layer: Layer) -> tuple[Op, ...]:
    """Return the primitives that a layer is charged for.

    An mbconv of stride 1 pays for an addition even where there is no residual: every timed block of
    stride 1 has one, and without it one more channel would drop the addition and be cheaper.
    """
    ops = ops_of(layer)
    if layer.op != "mbconv" or layer.stride != 1 or layer.residual:
        return ops
    end, channels = layer.out_size, layer.out_channels
    add = Op(kind="add", size=end, out_size=end, in_channels=channels, out_channels=channels)
    return (*ops, add)


def hswish_elements(blocks: Sequence[Sequence[Op]]) -> Array:
    """Return the number of elements that go through an h-swish, for each block."""
    counts = [sum(op.out_elements for op in ops if op.act == "hswish") for ops in blocks]
    return np.array(counts, dtype=np.float64)


def matrix(blocks: Sequence[Sequence[Op]], terms: Sequence[Term]) -> Array:
    """Return the sum of each term (columns) over the primitives of each block (rows)."""
    result = np.zeros((len(blocks), len(terms)))
    for group, owners, counts in _grouped(blocks):
        for column, term in enumerate(terms):
            if term.group == group:
                result[:, column] = np.bincount(owners, term.values(counts), len(blocks))
    return result


def priced(blocks: Sequence[Sequence[Op]], prices: Mapping[Term, float]) -> Array:
    """Return the sum of price times term over the primitives of each block: `matrix @ prices`."""
    result = np.zeros(len(blocks))
    for group, owners, counts in _grouped(blocks):
        terms = [(term, price) for term, price in prices.items() if term.group == group]
        costs = sum((price * term.values(counts) for term, price in terms), np.zeros(len(owners)))
        result += np.bincount(owners, costs, len(blocks))
    return result


def _grouped(blocks: Sequence[Sequence[Op]]) -> Iterator[tuple[str, list[int], Counts]]:
    members: dict[str, list[tuple[int, Op]]] = {}
    for owner, ops in enumerate(blocks):
        for op in ops:
            for group in _groups_of(op):
                members.setdefault(group, []).append((owner, op))
    for group, found in members.items():
        yield group, [owner for owner, _ in found], _counts(group, [op for _, op in found])


def _groups_of(op: Op) -> tuple[str, ...]:
    strided = "_strided" if op.kind == "depthwise" and op.stride > 1 else ""
    return (op.kind + strided, *(("activation",) if op.act in PRICED_ACTS else ()))


def _counts(group: str, ops: Sequence[Op]) -> Counts:
    fields = np.array([_fields_of(op) for op in ops], dtype=np.float64)
    columns = dict(zip(_FIELDS, fields.T, strict=True))
    return {"calls": np.ones(len(ops)), **_COUNTS[group](columns)}


def _convolution(op: Columns) -> Counts:
    rows, columns = op["out_size"] ** 2, op["out_channels"]
    inner = op["kernel"] ** 2 * op["in_channels"]
    tiled = {f"macs_rows{tile}": _up(rows, tile) * inner * columns for tile in TILES}
    return {
        "rows": rows,
        "inner": inner,
        "columns": columns,
        "weights": inner * columns,
        "in_elements": op["size"] ** 2 * op["in_channels"],
        "out_elements": rows * columns,
        "is_spatial": (op["kernel"] > 1).astype(np.float64),
        "macs_columns16": rows * inner * _up(columns, 16),
        **tiled,
    }


def _depthwise(op: Columns) -> Counts:
    # A 3 x 3 kernel is the smallest that was timed, 5 x 5 one step more; larger ones go by taps.
    more_taps = np.maximum(op["kernel"] ** 2 - 9, 0) / 16
    return {
        "channels": op["out_channels"],
        "pixels": op["out_size"] ** 2,
        "out_size": op["out_size"],
        "row_elements": op["size"] * op["in_channels"],
        "in_elements": op["size"] ** 2 * op["in_channels"],
        "out_elements": op["out_size"] ** 2 * op["out_channels"],
        "more_taps": more_taps,
    }


def _linear(op: Columns) -> Counts:
    inner, columns = op["in_channels"], op["out_channels"]
    return {"inner": inner, "columns": columns, "weights": inner * columns}


def _on_input(op: Columns) -> Counts:
    pixels, channels = op["size"] ** 2, op["in_channels"]
    return {"pixels": pixels, "channels": channels, "elements": pixels * channels}


def _on_output(op: Columns) -> Counts:
    pixels, channels = op["out_size"] ** 2, op["out_channels"]
    return {"pixels": pixels, "channels": channels, "elements": pixels * channels}


def _up(count: Array, tile: int) -> Array:
    return np.ceil(count / tile) * tile


_COUNTS: dict[str, Callable[[Columns], Counts]] = {
    "conv": _convolution,
    "depthwise": _depthwise,
    "depthwise_strided": _depthwise,
    "activation": _on_output,
    "pool": _on_input,
    "gate": _on_input,
    "add": _on_input,
    "downsample": _on_input,
    "linear": _linear,
}
