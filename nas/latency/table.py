"""Latency tables: a row a layer, and the sum over a network's rows."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.csv_file import VERSION, read_csv, write_csv
from nas.latency.rows import (
    CALIBRATED_COLUMNS,
    COLUMNS,
    DEVICES_COLUMNS,
    PLACE_COLUMNS,
    Row,
    columns_of,
    read_row,
    write_row,
)
from nas.paths import find
from nas.space import SearchSpace

__all__ = ["COLUMNS", "VERSION", "LatencyTable", "Row"]


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """The layers that were measured or modelled on one device, with what is known of it.

    `header` holds the `#` lines of the file: version, device, cpu, runtime, threads, dtype, ...
    `path` is the file that it was read from.
    """

    name: str
    header: Mapping[str, str]
    rows: Mapping[Layer, Row]
    path: Path | None = field(default=None, compare=False)
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

    def digest(self) -> str:
        """Return 16 hexadecimal digits of the layers and their ms, in whatever order."""
        rows = sorted(f"{layer} {ms!r}" for layer, ms in self._ms.items())
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

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
        file = read_csv(path, COLUMNS, CALIBRATED_COLUMNS, PLACE_COLUMNS, DEVICES_COLUMNS)
        rows: dict[Layer, Row] = {}
        for number, cells in enumerate(file.rows, start=file.first_line):
            row = read_row(cells, file.columns, f"{path}, line {number}")
            if row.layer in rows:
                raise NasError(
                    f"{path}, line {number}: a layer may have one row, but `{row.layer}` has "
                    "another above. Delete one."
                )
            rows[row.layer] = row
        if not rows:
            raise NasError(f"{path} must have at least one row, but has none. Measure it again.")
        return cls(name=path.stem, header=file.header, rows=rows, path=path)

    def save(self, path: str | Path) -> None:
        """Write the CSV file, ms rounded to nanoseconds."""
        columns = columns_of(self.rows.values())
        rows = [write_row(row, columns) for row in self.rows.values()]
        write_csv(Path(path), self.header, columns, rows)
