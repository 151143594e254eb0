"""Latency tables: a row a layer, and the sum over a network's rows."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from math import isfinite
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.paths import find
from nas.space import SearchSpace
from nas.text import read_text, write_text

VERSION = 1
LAYER_COLUMNS = (
    "op",
    "size",
    "in_channels",
    "mid_channels",
    "out_channels",
    "kernel",
    "stride",
    "se",
    "act",
    "residual",
    "linear",
)
COLUMNS = (*LAYER_COLUMNS, "ms", "iqr_ms", "n", "source")
SOURCES = ("measured", "modelled")
MAX_ROWS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one layer costs: `ms` is what sums, `iqr_ms` its spread over `n` timings."""

    layer: Layer
    ms: float
    iqr_ms: float = 0.0
    n: int = 0
    source: str = "measured"


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """The layers that were measured or modelled on one device, with what is known of it.

    `header` holds the `#` lines of the file: version, device, cpu, runtime, threads, dtype, ...
    """

    name: str
    header: Mapping[str, str]
    rows: Mapping[Layer, Row]
    _ms: dict[Layer, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ms", {layer: row.ms for layer, row in self.rows.items()})

    def predict_ms(self, arch: Arch) -> float:
        """Return the sum of the layers' ms.

        Raises:
            NasError: the table has no row for some layer.
        """
        try:
            return sum(map(self._ms.__getitem__, arch.layers))
        except KeyError:
            raise self._missing_error(self.missing(arch), arch.name) from None

    def layer_ms(self, arch: Arch) -> tuple[float, ...]:
        """Return the ms of each layer.

        Raises:
            NasError: the table has no row for some layer.
        """
        self.require(arch.layers, arch.name)
        return tuple(self._ms[layer] for layer in arch.layers)

    def predict_many_ms(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Return the ms of each arch, as a float64 array.

        Raises:
            NasError: the table has no row for some layer.
        """
        if not archs:
            return np.zeros(0)
        starts = np.cumsum([0, *(len(arch.layers) for arch in archs[:-1])])
        layers = list(chain.from_iterable(arch.layers for arch in archs))
        try:
            # Networks of a space share their layers: each is compared with the rows once, and found
            # by its identity from then on.
            distinct = dict(zip(map(id, layers), layers, strict=True))
            shared = {key: self._ms[layer] for key, layer in distinct.items()}
            ms = np.fromiter(map(shared.__getitem__, map(id, layers)), np.float64)
        except KeyError:
            raise self._missing_error(self.missing(layers), "these networks") from None
        return np.add.reduceat(ms, starts)

    def missing(self, layers: SearchSpace | Arch | Iterable[Layer]) -> tuple[Layer, ...]:
        """Return the distinct layers that the table has no row for."""
        if isinstance(layers, SearchSpace):
            layers = layers.layers()
        elif isinstance(layers, Arch):
            layers = layers.layers
        return tuple(dict.fromkeys(layer for layer in layers if layer not in self.rows))

    def bounds_ms(self, space: SearchSpace) -> tuple[float, float]:
        """Return the exact least and greatest ms over all networks of a space.

        Raises:
            NasError: the table has no row for some layer of the space.
        """
        self.require(space.layers(), space.name)
        cost = self._ms.__getitem__
        return space.extreme(cost, min), space.extreme(cost, max)

    def require(self, layers: Iterable[Layer], owner: str) -> None:
        """Raise the error that lists what `owner` lacks here, and the command that adds it."""
        missing = self.missing(layers)
        if missing:
            raise self._missing_error(missing, owner)

    def _missing_error(self, missing: Sequence[Layer], owner: str) -> NasError:
        hardware = self.header.get("device", self.name)
        return NasError(
            f"table {self.name} has no row for {len(missing)} layers of {owner} (first: "
            f"{missing[0]}). Add them: python -m nas.latency +hardware={hardware} with arch=<file> "
            "or space=<name>"
        )

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a table: the name of a shipped one or of one in ./latency_tables, or a path.

        Raises:
            NasError: the file is missing, truncated, or a row is wrong; the line is named.
        """
        path = find("latency_tables", name_or_path, ".csv")
        header, body, first_line = _split(read_text(path), str(path))
        rows: dict[Layer, Row] = {}
        for number, cells in enumerate(body, start=first_line):
            row = _read_row(cells, f"{path}, line {number}")
            if row.layer in rows:
                raise NasError(
                    f"{path}, line {number}: a layer may have one row, but `{row.layer}` has "
                    "another above. Delete one."
                )
            rows[row.layer] = row
        if not rows:
            raise NasError(f"{path} must have at least one row, but has none. Measure it again.")
        return cls(name=path.stem, header=header, rows=rows)

    def save(self, path: str | Path) -> None:
        """Write the CSV file, ms rounded to nanoseconds."""
        text = io.StringIO()
        for key, value in {"version": VERSION, **self.header}.items():
            text.write(f"# {key}: {' '.join(str(value).split())}\n")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows.values():
            layer = [_cell(getattr(row.layer, name)) for name in LAYER_COLUMNS]
            writer.writerow([*layer, f"{row.ms:.6f}", f"{row.iqr_ms:.6f}", row.n, row.source])
        write_text(Path(path), text.getvalue())


def _cell(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


def _split(text: str, where: str) -> tuple[dict[str, str], list[list[str]], int]:
    lines = text.splitlines()
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    header = dict(_header_item(line) for line in comments)
    if header.get("version") != str(VERSION):
        raise NasError(f"{where} must begin with `# version: {VERSION}`. Measure the table again.")
    try:
        body = list(csv.reader(lines[len(comments) :]))
    except csv.Error as error:
        raise NasError(f"{where} is not readable CSV: {error}. Measure the table again.") from error
    if not body or tuple(body[0]) != COLUMNS:
        found = ",".join(body[0]) if body else "nothing"
        raise NasError(f"{where} must have the columns {','.join(COLUMNS)}, but has {found[:200]}.")
    if len(body) - 1 > MAX_ROWS:
        raise NasError(f"{where} must have at most {MAX_ROWS:,} rows, but has {len(body) - 1:,}.")
    if not text.endswith("\n"):
        raise NasError(f"{where} is cut off in line {len(lines)}. Fetch or measure it again.")
    return header, body[1:], len(comments) + 2


def _header_item(line: str) -> tuple[str, str]:
    key, _, value = line[1:].partition(":")
    return key.strip(), value.strip()


def _read_row(cells: list[str], where: str) -> Row:
    if len(cells) != len(COLUMNS):
        raise NasError(f"{where} must have {len(COLUMNS)} cells, but has {len(cells)}.")
    row = dict(zip(COLUMNS, cells, strict=True))
    try:
        layer = Layer(
            op=row["op"],
            act=row["act"],
            residual=_flag(row, "residual"),
            linear=_flag(row, "linear"),
            **{name: _integer(row, name) for name in LAYER_COLUMNS[1:8]},
        )
        ms, iqr_ms, n = _number(row, "ms"), _number(row, "iqr_ms"), _integer(row, "n")
    except NasError as error:
        raise NasError(f"{where}: {error}") from error
    if ms == 0:
        raise NasError(f"{where}: ms must be above 0, but is 0. Measure the layer again.")
    if row["source"] not in SOURCES:
        raise NasError(f"{where}: source must be {' or '.join(SOURCES)}, but is {row['source']!r}.")
    return Row(layer=layer, ms=ms, iqr_ms=iqr_ms, n=n, source=row["source"])


def _integer(row: Mapping[str, str], name: str) -> int:
    if not (row[name].isascii() and row[name].isdigit() and len(row[name]) <= 9):
        raise NasError(f"{name} must be a whole number, but is {row[name]!r}. Correct the cell.")
    return int(row[name])


def _flag(row: Mapping[str, str], name: str) -> bool:
    if row[name] not in ("0", "1"):
        raise NasError(f"{name} must be 0 or 1, but is {row[name]!r}. Correct the cell.")
    return row[name] == "1"


def _number(row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0:
        raise NasError(
            f"{name} must be a finite number of at least 0, but is {row[name]!r}. "
            "Measure the layer again or delete the row."
        )
    return value
