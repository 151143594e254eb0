"""Say what a network is made of: what each kind of operation takes, and each layer.

python -m nas.report arch=mobilenet_v1
"""

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.arch import Arch
from nas.commands import command, settings
from nas.cost import count_macs, count_params, peak_memory_bytes
from nas.latency.breakdown import Breakdown
from nas.latency.network_options import NetworkOptions
from nas.latency.summary import trust
from nas.report.shares import shares_of

MEGA = 1e6


@command("report")
def main(cfg: DictConfig) -> None:
    """Load the network, and the table where one is named, and print what they say."""
    options = settings(cfg, NetworkOptions)
    arch, table = options.chosen_arch(), options.chosen_table()
    breakdown = options.breakdown(arch, table) if table else None
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    console.print(_layers(arch, breakdown))
    console.print()
    console.print(_kinds(arch))
    console.print()
    console.print(f"[bold]{escape(_headline(arch, breakdown))}[/]")
    if table:
        console.print(f"ms are of table {escape(table.name)}.")
        for _, said in trust(table):
            console.print(escape(said))


def _headline(arch: Arch, breakdown: Breakdown | None) -> str:
    figures = [
        f"{count_macs(arch) / MEGA:.1f} M MAdds",
        f"{count_params(arch) / MEGA:.2f} M params",
        f"{peak_memory_bytes(arch) / MEGA:.2f} MB peak memory at {arch.resolution} px",
    ]
    figures += [f"{breakdown.ms:.3f} ms"] if breakdown else []
    return f"{arch.name}: {', '.join(figures)}"


def _layers(arch: Arch, breakdown: Breakdown | None) -> Table:
    lines = _table("layer", "MAdds M", "share", "params", "share", "peak MB")
    for name in ("ms", "share") if breakdown else ():
        lines.add_column(name, justify="right", no_wrap=True)
    macs, params = count_macs(arch), count_params(arch)
    for number, layer in enumerate(arch.layers):
        own_macs, own_params = count_macs(layer), count_params(layer)
        cells = [f"{own_macs / MEGA:.2f}", _percent(own_macs, macs)]
        cells += [f"{own_params:,}", _percent(own_params, params)]
        cells += [f"{peak_memory_bytes(layer) / MEGA:.2f}"]
        if breakdown:
            ms = breakdown.rows[number].ms
            cells += [f"{ms:.3f}", _percent(ms, breakdown.ms)]
        lines.add_row(escape(str(layer)), *cells)
    return lines


def _kinds(arch: Arch) -> Table:
    shares = shares_of(arch)
    macs, weights = sum(one.macs for one in shares), sum(one.weights for one in shares)
    lines = _table("operation", "MAdds M", "share", "weights", "share")
    for one in shares:
        cells = [f"{one.macs / MEGA:.2f}", _percent(one.macs, macs, 2)]
        cells += [f"{one.weights:,}", _percent(one.weights, weights, 2)]
        lines.add_row(one.kind, *cells)
    others = count_params(arch) - weights
    lines.add_row("batch-norms, biases", "", "", f"{others:,}", "not counted", style="dim")
    return lines


def _table(first: str, *names: str) -> Table:
    lines = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column(first, no_wrap=True)
    for name in names:
        lines.add_column(name, justify="right", no_wrap=True)
    return lines


def _percent(part: float, whole: float, decimals: int = 1) -> str:
    return f"{100 * part / whole:.{decimals}f} %"


if __name__ == "__main__":
    main()
