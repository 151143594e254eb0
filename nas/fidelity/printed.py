"""What the command prints: the figures of a judgement."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.fidelity.figures import Figures, Region
from nas.fidelity.judgement import Judgement
from nas.fidelity.wording import (
    INTERVALS,
    STATISTICS,
    cost_text,
    estimate_text,
    headline,
    regions,
    repeatability_text,
)


def print_judgement(judgement: Judgement, console: Console) -> None:
    """Print the figures over all networks and in the band, and what to know of them."""
    console.print(f"[bold]{escape(headline(judgement))}[/]")
    console.print(f"{INTERVALS}\n")
    for title, region in regions(judgement):
        console.print(f"[bold]{escape(title)}[/]")
        console.print(_table(region))
        if region.repeatability:
            console.print(escape(repeatability_text(region.repeatability)))
        console.print()
    console.print(escape(cost_text(judgement)))
    for note in judgement.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")


def _table(region: Region) -> Table:
    lines = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column("", no_wrap=True)
    for title in STATISTICS.values():
        lines.add_column(title, justify="right", no_wrap=True)
    for one in region.scores:
        lines.add_row(escape(one.name), *_cells(one, is_difference=False))
    for one in region.differences:
        lines.add_row(f"over {escape(one.name)}", *_cells(one, is_difference=True), style="dim")
    return lines


def _cells(figures: Figures, *, is_difference: bool) -> list[str]:
    return [
        estimate_text(figures.estimates[name], is_difference=is_difference) for name in STATISTICS
    ]
