"""Read a file of timed blocks: each row a layer of ours, or a layer and a convolved shortcut."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.arch import Layer
from nas.errors import NasError, shown, unknown
from nas.latency.features import priced_ops
from nas.latency.rows import LEAST_MS
from nas.latency.terms import Array
from nas.ops import Op
from nas.text import MAX_NUMBER, read_columns

DEVICES = {"pixel_cpu": "pixel1_ms", "pixel4_cpu": "pixel4_ms", "pixel6_cpu": "pixel6_ms"}
"""The devices of a file of timed blocks, with the column of their times."""

INTEGERS = ("h_in", "c_in", "c_out", "stride", "kernel", "se")
COLUMNS = ("kind", *INTEGERS, "expand", "act", "shortcut")
SHORTCUTS = ("none", "identity", "conv1x1", "avgpool2+conv1x1")
MIN_ROWS, MAX_ROWS = 100, 100_000
N_CLASSES = 1000
Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedBlocks:
    """Blocks with their times in ms by device.

    `cores` are the blocks without their convolved shortcut, `shortcuts` the primitives of that (a
    MobileNetV3 block has none). `kinds` and the sizes and channels `groups` name rows to leave out.
    """

    cores: tuple[tuple[Layer, ...], ...]
    shortcuts: tuple[tuple[Op, ...], ...]
    ms: Mapping[str, Array] = field(repr=False)
    kinds: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.cores)

    @property
    def core_ops(self) -> list[tuple[Op, ...]]:
        """Return the primitives of each block without its convolved shortcut."""
        return [tuple(op for layer in layers for op in priced_ops(layer)) for layers in self.cores]


def read_timed_blocks(path: str | Path) -> TimedBlocks:
    """Read a CSV of timed blocks.

    Raises:
        NasError: no such file, a missing column, an unknown word, or a time that is not positive.
    """
    table = _read(Path(path))
    rows = table.to_dict("records")
    parsed = [_parse(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2)]
    return TimedBlocks(
        cores=tuple(core for core, _ in parsed),
        shortcuts=tuple(shortcut for _, shortcut in parsed),
        ms={name: _times(table, column, path) for name, column in DEVICES.items()},
        kinds=tuple(table["kind"]),
        groups={name: tuple(map(int, table[name])) for name in ("h_in", "c_in", "c_out")},
    )


def _read(path: Path) -> pd.DataFrame:
    text = read_columns(path)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            nrows=MAX_ROWS + 1,
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
        )
    except (OverflowError, ValueError) as error:
        raise NasError(f"data must be a CSV file of timed blocks, but {path}: {error}") from error
    missing = [name for name in (*COLUMNS, *DEVICES.values()) if name not in table.columns]
    if missing:
        raise NasError(f"{path} has no column {missing[0]!r}; it needs {', '.join(COLUMNS)}.")
    if not MIN_ROWS <= len(table) <= MAX_ROWS:
        rule = f"must have {MIN_ROWS} to {MAX_ROWS} rows to fit on"
        raise NasError(f"{path} {rule}, but has {len(table)}.")
    for name in INTEGERS:
        if not pd.api.types.is_integer_dtype(table[name]):
            raise NasError(f"column {name} of {path} must hold integers alone. Correct the rows.")
    return table


def _times(table: pd.DataFrame, column: str, path: str | Path) -> Array:
    try:
        times = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    except OverflowError as error:
        raise NasError(f"{column} of {path} must be ms, but one has too many digits.") from error
    wrong = np.flatnonzero(~((times >= LEAST_MS) & (times <= MAX_NUMBER)))
    if wrong.size:
        value = table[column].iloc[wrong[0]]
        raise NasError(
            f"{path}, line {wrong[0] + 2}: {column} must be a positive number of ms, but is "
            f"{shown(value)}. Remove or measure the row again."
        )
    return times


def _parse(row: Row, where: str) -> tuple[tuple[Layer, ...], tuple[Op, ...]]:
    if row["kind"] not in _PARSERS:
        raise NasError(f"{where}: {unknown('kind', row['kind'], _PARSERS)}")
    if row["shortcut"] not in SHORTCUTS:
        raise NasError(f"{where}: {unknown('shortcut', row['shortcut'], SHORTCUTS)}")
    try:
        return _PARSERS[str(row["kind"])](row), _shortcut(row)
    except (NasError, OverflowError, TypeError, ValueError) as error:
        raise NasError(f"{where}: {error}") from error


def _stem(row: Row) -> tuple[Layer, ...]:
    channels = _sizes(row, in_channels="c_in", out_channels="c_out")
    return (Layer(op="conv", **channels, **_window(row)),)


def _mbconv(row: Row) -> tuple[Layer, ...]:
    mid = round(row["c_in"] * row["expand"])
    block = Layer(
        op="mbconv",
        in_channels=int(row["c_in"]),
        mid_channels=mid,
        out_channels=int(row["c_out"]),
        se=mid // 4 if row["se"] else 0,
        residual=row["shortcut"] == "identity",
        **_window(row),
    )
    return (block,)


def _last_stage(row: Row) -> tuple[Layer, ...]:
    size, act, wide = int(row["h_in"]), row["act"], round(row["c_in"] * row["expand"])
    expansion = Layer(op="conv", in_channels=int(row["c_in"]), out_channels=wide, **_window(row))
    head = Layer(
        op="head",
        size=size,
        in_channels=wide,
        mid_channels=int(row["c_out"]),
        out_channels=N_CLASSES,
        act=act,
    )
    return (expansion, head)


def _window(row: Row) -> dict[str, Any]:
    return {"act": row["act"], **_sizes(row, size="h_in", kernel="kernel", stride="stride")}


def _sizes(row: Row, **columns: str) -> dict[str, Any]:
    return {name: int(row[column]) for name, column in columns.items()}


def _shortcut(row: Row) -> tuple[Op, ...]:
    if "conv1x1" not in row["shortcut"]:
        return ()
    size, channels, out = int(row["h_in"]), int(row["c_in"]), int(row["c_out"])
    end = -(-size // int(row["stride"]))
    conv = Op(kind="conv", size=end, out_size=end, in_channels=channels, out_channels=out)
    if row["stride"] == 1:
        # A core of stride 1 is charged for the addition already.
        return (conv,)
    pool = Op(
        kind="downsample", size=size, out_size=end, in_channels=channels, out_channels=channels
    )
    add = Op(kind="add", size=end, out_size=end, in_channels=out, out_channels=out)
    return (pool, conv, add)


_PARSERS: dict[str, Callable[[Row], tuple[Layer, ...]]] = {
    "stem_conv": _stem,
    "mbconv": _mbconv,
    "mbconv_transds": _mbconv,
    "last_stage": _last_stage,
}
