"""The table that ends `python -m nas.train --multirun`: all networks of the sweep."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from nas.text import read_json, write_text
from nas.train.showing import console

COLUMNS = (
    "network",
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


class Comparison(Callback):
    """Hydra's callback that compares the trainings of a sweep when the last of them is done."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table and write comparison.csv to the sweep's folder."""
        folder = Path(config.hydra.sweep.dir)
        rows = rows_of(folder)
        if not rows:
            return
        write_text(folder / "comparison.csv", csv_of(rows))
        shown = console()
        shown.print(table_of(rows))
        shown.print(f"table  {escape(str(folder / 'comparison.csv'))}")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of all finished trainings below a folder, in the sweep's order."""
    files = sorted(folder.glob("*/metrics.json"), key=_number)
    return [{**read_json(file), "folder": file.parent.name} for file in files]


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
    """Return the table that is printed, the most accurate network first."""
    has_table = any(row.get("table_ms") is not None for row in rows)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("network", no_wrap=True)
    titles = ["top-1 %", "top-5 %", "s/epoch", "images/s", "ms here"]
    for title in [*titles, *(["table ms"] if has_table else []), "MAdds", "params"]:
        table.add_column(title, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda one: -one["top1"]):
        cells = [f"{row['top1']:.2f}", f"{row['top5']:.2f}", f"{row['seconds_per_epoch']:.1f}"]
        cells += [f"{row['images_per_second']:.0f}", f"{row['inference_ms']:.2f}"]
        cells += [_text(row.get("table_ms"), 1, "")] if has_table else []
        cells += [_text(row.get("macs"), 1e6, " M"), _text(row.get("params"), 1e6, " M")]
        table.add_row(escape(row["network"]), *cells)
    return table


def _text(value: float | None, unit: float, suffix: str) -> str:
    return "" if value is None else f"{value / unit:.2f}{suffix}"


def _number(file: Path) -> tuple[int, str]:
    name = file.parent.name
    return (int(name) if name.isdigit() else 10**9, name)
