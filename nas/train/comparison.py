"""The table that ends `python -m nas.train --multirun`: all networks of the sweep."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.errors import NasError, shown
from nas.text import is_number, read_json, write_text

COLUMNS = (
    "network",
    "options",
    "seed",
    "data",
    "part",
    "top1",
    "top5",
    "epochs",
    "seconds_per_epoch",
    "images_per_second",
    "inference_ms",
    "table_ms",
    "macs",
    "params",
    "folder",
)


def compare(folder: Path, console: Console) -> None:
    """Print the table of a sweep's finished trainings and write its comparison.csv.

    Raises:
        NasError: a metrics.json that no training has written.
    """
    rows = rows_of(folder)
    if not rows:
        return
    write_text(folder / "comparison.csv", csv_of(rows))
    console.print(table_of(rows))
    console.print(f"table  {escape(str(folder / 'comparison.csv'))}")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of all finished trainings below a folder, in the sweep's order."""
    files = sorted(folder.glob("*/metrics.json"), key=_number)
    return [{**_checked(read_json(file), file), "folder": file.parent.name} for file in files]


def _checked(metrics: dict[str, Any], file: Path) -> dict[str, Any]:
    names = ("network", "options", "training")
    known = {name: (name, isinstance(metrics.get(name), str)) for name in names}
    for title, (name, _) in _COLUMNS.items():
        one = metrics.get(name)
        known[title] = (name, is_number(one) or (one is None and name not in ("top1", "top5")))
    for name, is_right in known.values():
        if not is_right:
            raise NasError(
                f"{file} must be the end of a training, but its {name} is "
                f"{shown(metrics.get(name))}. Delete it, and train that network again."
            )
    return metrics


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return comparison.csv; what a network has no figure for stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        given = {name: row.get(name) for name in COLUMNS}
        writer.writerow(
            {
                name: f"{value:.6g}" if isinstance(value, float) else value
                for name, value in given.items()
            }
        )
    return text.getvalue()


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table that is printed: the most accurate network first, a line for all its seeds.

    Of several seeds it shows the mean and the standard deviation (n - 1).
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["training"], []).append(row)
    columns = dict(_COLUMNS)
    if all(row.get("table_ms") is None for row in rows):
        del columns["table ms"]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("network", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    has_options = len({row["options"] for row in rows}) > 1
    if has_options:
        table.add_column("options")
    for group in sorted(groups.values(), key=lambda one: -_mean(one, "top1")):
        cells = [_cell(group, name, unit) for name, unit in columns.values()]
        options = [escape(group[0]["options"])] if has_options else []
        table.add_row(escape(group[0]["network"]), *cells, *options)
    return table


_COLUMNS = {
    "top-1 %": ("top1", 1.0),
    "top-5 %": ("top5", 1.0),
    "s/epoch": ("seconds_per_epoch", 1.0),
    "ms here": ("inference_ms", 1.0),
    "table ms": ("table_ms", 1.0),
    "MAdds M": ("macs", 1e6),
    "params M": ("params", 1e6),
}
"""What the table shows: the figure of metrics.json, and its unit."""


def _cell(group: Sequence[Mapping[str, Any]], name: str, unit: float) -> str:
    if group[0].get(name) is None:
        return ""
    mean = f"{_mean(group, name) / unit:.2f}"
    if len(group) == 1 or name not in ("top1", "top5"):
        return mean
    return f"{mean} ± {stdev(row[name] for row in group) / unit:.2f}"


def _mean(group: Sequence[Mapping[str, Any]], name: str) -> float:
    return fmean(row[name] for row in group)


def _number(file: Path) -> tuple[int, str]:
    name = file.parent.name
    return (int(name) if name.isdigit() else 10**9, name)
