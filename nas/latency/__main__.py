"""Write the latency table of a device: `python -m nas.latency +hardware=host_cpu`.

Measures every layer of both MobileNetV3 spaces and of the baselines on this machine; `arch=<name or
file>` (with `width=`, `resolution=`) adds one network's layers, `space=<name>` another space's.
Interrupted, the same command goes on. For hardware that a cost model stands for, such as
pixel_cpu, the rows come from the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import monotonic
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from nas.arch import Arch, Layer
from nas.baselines import baselines, scaled_baselines
from nas.commands import command, require_choice, settings
from nas.errors import NasError, shown, unknown
from nas.latency.cost_model import CostModel
from nas.latency.devices import local_device
from nas.latency.modelled import extended, modelled_table
from nas.latency.raw_times import raw_times_path
from nas.latency.summary import summary
from nas.latency.table import LatencyTable
from nas.latency.timing import Plan
from nas.paths import folders, names
from nas.space import SearchSpace

SPACES = ("mobilenet_v3_large", "mobilenet_v3_small")
# Drawing costs milliseconds on the core that is being timed on.
REFRESH_S = 0.25


@dataclass(kw_only=True)
class HardwareSettings:
    """A file of conf/hardware."""

    name: str
    description: str
    table: str
    device: str
    runtime: str
    threads: int
    dtype: str
    cost_model: str | None = None


@dataclass(kw_only=True)
class LatencySettings:
    """The options of conf/latency.yaml, typed."""

    hardware: HardwareSettings
    space: Any = None
    arch: str | None = None
    width: float = 1.0
    resolution: int | None = None
    table: str | None = None
    fresh: bool = False
    rounds: int = 20
    warmups: int = 2
    runs: int = 5
    seed: int = 0


@command("latency")
def main(cfg: DictConfig) -> None:
    """Measure or model the layers, write the table and say what it holds."""
    require_choice(cfg, "hardware", "nas.latency", like="host_cpu")
    options = settings(cfg, LatencySettings)
    hardware = options.hardware
    if hardware.device not in _WRITERS:
        raise unknown(f"device of hardware {hardware.name}:", hardware.device, _WRITERS)
    layers = _layers(options)
    path = Path(options.table or f"latency_tables/{hardware.table}.csv")
    if path.suffix != ".csv":
        raise NasError(f"table must be the path of a .csv file, but is {path}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    console = Console()
    table = _WRITERS[hardware.device](options, layers, path, console)
    _print_summary(table, path, options, console)


def _layers(options: LatencySettings) -> list[Layer]:
    spaces = _space_names(options.space)
    if options.arch is not None:
        archs = [Arch.load(options.arch).scaled(options.width, options.resolution)]
    elif options.width != 1 or options.resolution is not None:
        raise NasError("width and resolution scale the network of arch=, but there is none.")
    else:
        is_modelled = options.hardware.device == "modelled"
        archs = [*scaled_baselines()] if is_modelled else baselines()
        if spaces is None:
            spaces = names("search_spaces", ".yaml") if is_modelled else [*SPACES]
    found = [layer for name in spaces or () for layer in SearchSpace.load(name).layers()]
    return list(dict.fromkeys([*found, *(layer for arch in archs for layer in arch.layers)]))


def _space_names(space: Any) -> list[str] | None:
    found = [space] if isinstance(space, str) else space
    if found is None or (isinstance(found, list) and all(isinstance(one, str) for one in found)):
        return found
    raise NasError(
        f"space must be a name or a list of names, but is {shown(space)}. "
        "Write space=[tiny,mnasnet]."
    )


def _measured(
    options: LatencySettings, layers: Sequence[Layer], path: Path, console: Console
) -> LatencyTable:
    # These need torch, which takes seconds to import; a modelled table needs none.
    from nas.latency.measure import Setting, measure, start_afresh
    from nas.latency.runtimes import load_runtime

    hardware = options.hardware
    setting = Setting(
        hardware=hardware.name,
        device=local_device(),
        runtime=load_runtime(hardware.runtime, threads=hardware.threads, dtype=hardware.dtype),
        threads=hardware.threads,
        dtype=hardware.dtype,
    )
    plan = Plan(n_rounds=options.rounds, n_warmups=options.warmups, n_runs=options.runs)
    if options.fresh:
        start_afresh(path)
    try:
        with _progress(console) as on_step:
            return measure(layers, path, setting, plan, seed=options.seed, on_step=on_step)
    except KeyboardInterrupt:
        console.print(f"What was measured is kept in {raw_times_path(path)}.")
        raise


def _modelled(
    options: LatencySettings, layers: Sequence[Layer], path: Path, console: Console
) -> LatencyTable:
    hardware = options.hardware
    console.print(f"{hardware.name} is modelled: the rows come from its cost model, not a phone.")
    cost_model = CostModel.load(str(hardware.cost_model))
    known = None if options.fresh else _known(path)
    if known:
        table = extended(known, layers, cost_model)
    else:
        header = _modelled_header(hardware, cost_model)
        table = modelled_table(path.stem, layers, cost_model, header)
    table.save(path)
    return table


def _known(path: Path) -> LatencyTable | None:
    """Return the table at `path`, or else the shipped one of that name."""
    files = [path, *(place / path.name for place in folders("latency_tables"))]
    found = [file for file in files if file.is_file()]
    return LatencyTable.load(found[0]) if found else None


def _modelled_header(hardware: HardwareSettings, cost_model: CostModel) -> dict[str, str]:
    errors = cost_model.provenance.get("mean_errors_percent", {}).get("a fifth of the rows", {})
    figures = ", ".join(f"{kind} {error:.2f} %" for kind, error in errors.items())
    return {
        "device": hardware.name,
        "cpu": hardware.description,
        "runtime": hardware.runtime,
        "threads": str(hardware.threads),
        "dtype": hardware.dtype,
        "batch": "1",
        "fitted_on": str(cost_model.provenance.get("source", "unknown")),
        "error": f"mean on timed blocks left out in cross-validation: {figures or 'unknown'}",
        "date": date.today().isoformat(),
    }


_WRITERS = {"local": _measured, "modelled": _modelled}


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # Redrawn between visits only: a drawing thread would disturb what is being timed.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        tasks: dict[str, TaskID] = {}
        drawn_s = 0.0

        def on_step(stage: str, n_done: int, n_steps: int) -> None:
            nonlocal drawn_s
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=n_steps)
            progress.update(tasks[stage], completed=n_done)
            if n_done == n_steps or monotonic() - drawn_s > REFRESH_S:
                progress.refresh()
                drawn_s = monotonic()

        yield on_step


def _print_summary(
    table: LatencyTable, path: Path, options: LatencySettings, console: Console
) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, value in summary(table):
        grid.add_row(name, escape(value))
    console.print(grid)
    console.print(f"Written to {path}. Next:")
    own = f" table={path}" if options.table else ""
    console.print(f"  python -m nas.search +hardware={options.hardware.name}{own}", highlight=False)


if __name__ == "__main__":
    main()
