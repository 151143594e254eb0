"""Say what a network costs on a device, layer by layer.

python -m nas.latency.predict arch=mobilenet_v3_large +hardware=pixel_cpu
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.arch import Arch
from nas.commands import command, require_choice, settings
from nas.errors import NasError
from nas.latency.breakdown import Breakdown, adding_command
from nas.latency.hardware_tables import (
    hardware_of,
    hardware_table,
    measuring_options,
    named_table,
)
from nas.latency.rows import Row
from nas.latency.summary import trust
from nas.latency.table import LatencyTable
from nas.text import short_text


@dataclass(kw_only=True)
class PredictSettings:
    """The options of conf/predict.yaml, typed."""

    arch: str | None = None
    hardware: dict[str, Any] | None = None
    table: str | None = None
    width: float = 1.0
    resolution: int | None = None


@command("predict")
def main(cfg: DictConfig) -> None:
    """Load the network and the table, and print the sum and its parts."""
    if cfg.get("table") is None:
        require_choice(cfg, "hardware", "nas.latency.predict arch=mobilenet_v3_large")
    options = settings(cfg, PredictSettings)
    if options.arch is None:
        raise NasError(
            "arch must name a network: arch=mobilenet_v3_large, or arch=<file> with one of yours."
        )
    arch = Arch.load(options.arch).scaled(options.width, options.resolution)
    table = _table(options)
    breakdown = Breakdown.of(arch, table, _adding_command(options, options.arch, table))
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    _print(breakdown, table, console)


def _table(options: PredictSettings) -> LatencyTable:
    if options.table is not None:
        return named_table(options.table, "table")
    hardware = options.hardware or {}
    name = short_text(hardware.get("name"), "hardware.name")
    return hardware_table(name, short_text(hardware.get("table"), "hardware.table"))


def _adding_command(options: PredictSettings, arch: str, table: LatencyTable) -> str:
    hardware = (options.hardware or {}).get("name") or hardware_of(table)
    more = measuring_options(hardware, table, options.table)
    width = None if options.width == 1 else f"{options.width:g}"
    scaling = {"width": width, "resolution": options.resolution}
    return adding_command(hardware, arch, scaling, more)


def _print(breakdown: Breakdown, table: LatencyTable, console: Console) -> None:
    console.print(_lines(breakdown))
    alone = breakdown.isolated_ms
    more = "" if alone is None else f"; its layers timed alone come to {alone:.3f} ms"
    network = f"[bold]{escape(breakdown.name)}: {breakdown.ms:.3f} ms[/]"
    console.print(f"{network} on table {escape(table.name)}{more}.")
    for _, said in trust(table):
        console.print(escape(said))


def _lines(breakdown: Breakdown) -> Table:
    lines = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column("layer", no_wrap=True)
    for name in ("ms", "share", *_more(breakdown)):
        lines.add_column(name, justify="right", no_wrap=True)
    lines.add_column("source", no_wrap=True)
    for row in breakdown.rows:
        figures = [f"{row.ms:.3f}", f"{breakdown.percent(row):.1f} %"]
        figures += [_figure(row, name) for name in _more(breakdown).values()]
        lines.add_row(escape(str(row.layer)), *figures, row.source)
    return lines


def _more(breakdown: Breakdown) -> dict[str, str]:
    """Return the further columns that some row has a figure for, by their titles."""
    columns = {"timed alone": "isolated_ms", "std": "std_ms"}
    return {
        title: name
        for title, name in columns.items()
        if any(getattr(row, name) is not None for row in breakdown.rows)
    }


def _figure(row: Row, name: str) -> str:
    ms = getattr(row, name)
    return "" if ms is None else f"{ms:.3f}"


if __name__ == "__main__":
    main()
