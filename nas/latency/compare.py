"""Compare what layers and networks cost on two devices.

python -m nas.latency.compare a=pixel_cpu b=pixel6_cpu
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.baselines import baselines
from nas.commands import command, settings
from nas.errors import NasError, shown
from nas.latency.comparison import ComparedNetwork, Comparison, Ratio, compared_networks
from nas.latency.hardware_tables import named_table, table_names
from nas.latency.table import LatencyTable

# A factor nearer to 1 than this is no difference between devices that anyone would act on.
NOTABLE = 1.05
CONDITIONS = ("cpu", "runtime", "mode", "dtype")


@dataclass(kw_only=True)
class CompareSettings:
    """The options of conf/compare.yaml, typed."""

    a: Any = None
    b: Any = None
    n: int = 10


@command("compare")
def main(cfg: DictConfig) -> None:
    """Load both tables and print where they agree and where they do not."""
    options = settings(cfg, CompareSettings)
    if not 0 <= options.n <= 1000:
        raise NasError(f"n must be from 0 to 1000 rows, but is {options.n}.")
    a, b = _table(options.a, "a"), _table(options.b, "b")
    comparison = Comparison.of(a, b)
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    _print_scale(comparison, a, b, console)
    _print_ratios("What a choice adds, on pairs of layers", comparison.by_choice(), console)
    ratios = [one for one in comparison.by_property() if _is_notable(one)]
    _print_ratios("Layers by property", ratios, console)
    rows = [one for one in comparison.rows() if _is_notable(one)]
    dearer = [one for one in rows if one.relative > 1][: options.n]
    cheaper = [one for one in reversed(rows) if one.relative < 1][: options.n]
    _print_ratios("Layers relatively dearest on b", dearer, console)
    _print_ratios("Layers relatively dearest on a", cheaper, console)
    _print_networks(a, b, console)


def _table(name: object, option: str) -> LatencyTable:
    if name is None or not isinstance(name, (str, int)) or isinstance(name, bool):
        given = "is missing" if name is None else f"is {shown(name)}"
        raise NasError(
            f"{option} must name a table, a file or a hardware, but {given}. Known: "
            f"{', '.join(table_names())}. Type: python -m nas.latency.compare a=pixel_cpu "
            "b=pixel6_cpu"
        )
    return named_table(str(name), option)


def _is_notable(ratio: Ratio) -> bool:
    return max(ratio.relative, 1 / ratio.relative) >= NOTABLE


def _print_scale(
    comparison: Comparison, a: LatencyTable, b: LatencyTable, console: Console
) -> None:
    for side, table in (("a", a), ("b", b)):
        conditions = (table.header.get(key, "none") for key in CONDITIONS)
        known = [value for value in conditions if value != "none"]
        console.print(f"[bold]{side}[/] {escape(table.name)}: {escape(', '.join(known))}")
    if a == b:
        console.print("Both are the same table.")
    n, only_a, only_b = len(comparison.shared), comparison.n_only_a, comparison.n_only_b
    console.print(f"{n} rows on both; {only_a} only on a, {only_b} only on b.")
    scale = comparison.scale
    console.print(f"A layer on b takes [bold]{scale:.3g}[/] of its time on a (median of the rows).")
    if n > 1:
        console.print(f"Order of rows: Spearman {comparison.rho:.3f}, Kendall {comparison.tau:.3f}")
    console.print("Below, that scale is taken out: x 1.80 on b is 1.8 times dearer than it says.")


def _print_ratios(title: str, ratios: Sequence[Ratio], console: Console) -> None:
    if not ratios:
        console.print(f"\n[bold]{title}[/]: none differs by {NOTABLE - 1:.0%} or more.")
        return
    is_counted = any(one.n > 1 for one in ratios)
    lines = _grid(title, "a ms", "b ms", *(["rows"] if is_counted else []), "")
    for one in ratios:
        figures = [f"{one.a_ms:.3f}", f"{one.b_ms:.3f}", *([str(one.n)] if is_counted else [])]
        lines.add_row(escape(one.name), *figures, _dearer(one.relative))
    console.print("", lines, sep="\n")


def _dearer(relative: float) -> str:
    side, factor = ("b", relative) if relative >= 1 else ("a", 1 / relative)
    return f"x {factor:.2f} on {side}" if factor >= 1.005 else "as the scale"


def _print_networks(a: LatencyTable, b: LatencyTable, console: Console) -> None:
    archs = baselines()
    networks = compared_networks(archs, a, b)
    if networks:
        console.print("", _network_lines(networks), sep="\n")
    left_out = [arch.name for arch in archs if arch.name not in {one.name for one in networks}]
    if left_out:
        console.print(f"Not on both: {', '.join(left_out)}")


def _network_lines(networks: Iterable[ComparedNetwork]) -> Table:
    lines = _grid("Networks", "a ms", "b ms", "b / a", "place")
    for one in networks:
        moved = f"{one.a_rank}" + (f" > {one.b_rank}" if one.a_rank != one.b_rank else "")
        ratio = f"{one.b_ms / one.a_ms:.2f}"
        lines.add_row(escape(one.name), f"{one.a_ms:.2f}", f"{one.b_ms:.2f}", ratio, moved)
    return lines


def _grid(title: str, *names: str) -> Table:
    lines = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column(title, no_wrap=True)
    for name in names:
        lines.add_column(name, justify="right", no_wrap=True)
    return lines


if __name__ == "__main__":
    main()
