"""The rows of a latency table: what one layer costs, and its line in the CSV file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas.arch import Layer
from nas.errors import NasError, shown
from nas.text import is_number

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
CALIBRATED_COLUMNS = ("isolated_ms", "std_ms")
PLACE_COLUMNS = ("se_at",)
"""Only where some layer has its squeeze-and-excite elsewhere than after the depthwise convolution:
no space and no hand-designed network has."""
DEVICES_COLUMNS = ("devices",)
"""Only where several identical devices shared the work."""
LEAST_MS = 1e-6
SOURCES = ("measured", "modelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one layer costs: `ms` is what sums, `iqr_ms` its spread over `n` timings.

    A row that whole networks have calibrated also knows `isolated_ms`, what the layer took when it
    was timed alone, and `std_ms`, the standard deviation of the calibrated `ms`. `n_devices` tells
    on how many identical devices it was timed.
    """

    layer: Layer
    ms: float
    iqr_ms: float = 0.0
    n: int = 0
    source: str = "measured"
    isolated_ms: float | None = None
    std_ms: float | None = None
    n_devices: int = 1

    @property
    def is_calibrated(self) -> bool:
        """Tell whether the row has a figure beyond the columns of every table."""
        return self.isolated_ms is not None or self.std_ms is not None


def columns_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the columns that a file of these rows has."""
    rows = list(rows)
    calibrated = CALIBRATED_COLUMNS if any(row.is_calibrated for row in rows) else ()
    is_placed = any(row.layer.se_at != "depthwise" for row in rows)
    devices = DEVICES_COLUMNS if any(row.n_devices > 1 for row in rows) else ()
    return (*COLUMNS, *calibrated, *(PLACE_COLUMNS if is_placed else ()), *devices)


def write_row(row: Row, columns: tuple[str, ...]) -> list[object]:
    """Return the cells of a row, ms rounded to nanoseconds."""
    layer = [_cell(getattr(row.layer, name)) for name in LAYER_COLUMNS]
    cells = [*layer, f"{row.ms:.6f}", f"{row.iqr_ms:.6f}", row.n, row.source]
    more = [getattr(row, name) for name in columns[len(COLUMNS) :] if name in CALIBRATED_COLUMNS]
    place = [row.layer.se_at] if "se_at" in columns else []
    devices = [row.n_devices] if "devices" in columns else []
    return [*cells, *("" if ms is None else f"{ms:.6f}" for ms in more), *place, *devices]


def read_row(cells: list[str], columns: tuple[str, ...], where: str) -> Row:
    """Return the row that a line of a file holds.

    Raises:
        NasError: a cell is missing or wrong; `where` says in which line.
    """
    if len(cells) != len(columns):
        raise NasError(f"{where} must have {len(columns)} cells, but has {len(cells)}.")
    row = dict(zip(columns, cells, strict=True))
    try:
        return Row(
            layer=_layer(row),
            ms=_time(row, "ms"),
            iqr_ms=number(row, "iqr_ms"),
            n=_integer(row, "n"),
            source=_source(row),
            isolated_ms=_time(row, "isolated_ms") if row.get("isolated_ms") else None,
            std_ms=number(row, "std_ms") if row.get("std_ms") else None,
            n_devices=_integer(row, "devices") if "devices" in row else 1,
        )
    except NasError as error:
        raise NasError(f"{where}: {error}") from error


def number(row: Mapping[str, str], name: str) -> float:
    """Return the finite number of at least 0 in a cell.

    Raises:
        NasError: it is none.
    """
    try:
        value = float(row[name])
    except ValueError:
        value = float("nan")
    if not (is_number(value) and value >= 0):
        raise NasError(
            f"{name} must be a finite number of at least 0, but is {shown(row[name])}. "
            "Measure it again or delete the row."
        )
    return value


def check_time(ms: float, where: str) -> None:
    """Refuse a time below a nanosecond, the last digit that files keep.

    Raises:
        NasError: it is below.
    """
    if ms < LEAST_MS:
        raise NasError(
            f"{where} must be above 0, but is {ms:g} ms; {LEAST_MS:f} is the least. "
            "Measure it again."
        )


def _cell(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


def _layer(row: Mapping[str, str]) -> Layer:
    return Layer(
        op=row["op"],
        act=row["act"],
        residual=_flag(row, "residual"),
        linear=_flag(row, "linear"),
        se_at=row.get("se_at", "depthwise"),
        **{name: _integer(row, name) for name in LAYER_COLUMNS[1:8]},
    )


def _time(row: Mapping[str, str], name: str) -> float:
    value = number(row, name)
    check_time(value, name)
    return value


def _source(row: Mapping[str, str]) -> str:
    if row["source"] not in SOURCES:
        raise NasError(f"source must be {' or '.join(SOURCES)}, but is {shown(row['source'])}.")
    return row["source"]


def _integer(row: Mapping[str, str], name: str) -> int:
    if not (row[name].isascii() and row[name].isdigit() and len(row[name]) <= 9):
        raise NasError(
            f"{name} must be a whole number, but is {shown(row[name])}. Correct the cell."
        )
    return int(row[name])


def _flag(row: Mapping[str, str], name: str) -> bool:
    if row[name] not in ("0", "1"):
        raise NasError(f"{name} must be 0 or 1, but is {shown(row[name])}. Correct the cell.")
    return row[name] == "1"
