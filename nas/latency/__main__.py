"""Write the latency table of a device: `python -m nas.latency +hardware=host_cpu`.

Measures every layer of both MobileNetV3 spaces and of the baselines on the device, corrects the
rows by whole networks and checks them on others (`calibrate=60 check=60`). `arch=<name or file>`
(with `width=`, `resolution=`) adds one network's layers, `layer=` a single one, `space=<name>`
those of another space; `runtime=litert dtype=int8` measures another runtime. Interrupted, the same
command goes on. `"hardware.connection.host=[pi1,pi2]"` shares the work among identical boards. For
hardware that a cost model stands for, such as pixel_cpu, the rows come from the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from time import monotonic

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

from nas.arch import Layer
from nas.commands import command, require_choice, settings
from nas.errors import NasError
from nas.latency.cost_model import CostModel
from nas.latency.devices.group import DeviceGroup
from nas.latency.devices.registry import load_device
from nas.latency.modelled import extended, modelled_table
from nas.latency.runtimes.variants import Variant
from nas.latency.settings import HardwareSettings, LatencySettings
from nas.latency.summary import summary
from nas.latency.table import LatencyTable
from nas.paths import folders
from nas.showing_steps import REFRESH_S
from nas.text import is_number


@command("latency")
def main(cfg: DictConfig) -> None:
    """Measure or model the layers, write the table and say what it holds."""
    require_choice(cfg, "hardware", "nas.latency", like="host_cpu")
    options = settings(cfg, LatencySettings)
    layers, path = options.layers(), options.path
    path.parent.mkdir(parents=True, exist_ok=True)
    console = Console()
    write = _modelled if options.is_modelled else _measured
    table = write(options, layers, path, console)
    _print_summary(table, path, options, console)


def _measured(
    options: LatencySettings, layers: Sequence[Layer], path: Path, console: Console
) -> LatencyTable:
    hardware, plan = options.chosen_hardware, options.plan
    device = load_device(hardware.device, hardware.connection)
    if isinstance(device, DeviceGroup):
        device.on_lost = _saying_loss(console)
    # What is wrong is said before the seconds that torch takes to import.
    Variant.of(hardware.runtime, hardware.dtype, hardware.mode)
    device.facts(hardware.runtime, hardware.threads, tuple(hardware.cores))
    known = None if options.fresh or not path.exists() else LatencyTable.load(path)
    probes = options.probes(known.missing(layers) if known else layers)

    from nas.latency.measure import Setting, measure, start_afresh
    from nas.latency.runtimes.registry import load_runtime

    runtime = load_runtime(hardware.runtime, hardware.dtype, hardware.mode)
    setting = Setting.of(hardware, device, runtime)
    if options.fresh:
        start_afresh(path)
        device.forget()
    try:
        with _progress(console) as on_step:
            return measure(layers, probes, path, setting, plan, seed=options.seed, on_step=on_step)
    except KeyboardInterrupt:
        without = ", without fresh=true to go on from it" if options.fresh else ""
        console.print(f"What was measured is kept beside {path}{without}.")
        raise


def _saying_loss(console: Console) -> Callable[[str, NasError], None]:
    def say(name: str, error: NasError) -> None:
        text = f"{name} is lost, and the others make what it had before it. {error}"
        console.print(text, markup=False, highlight=False)

    return say


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
    every = cost_model.provenance.get("mean_errors_percent")
    errors = every.get("a fifth of the rows") if isinstance(every, dict) else None
    known = errors.items() if isinstance(errors, dict) else ()
    figures = ", ".join(f"{kind} {error:.2f} %" for kind, error in known if is_number(error))
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


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    columns = (
        TextColumn("{task.description:12}"),
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
            progress.update(tasks[stage], completed=n_done, total=n_steps)
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
    console.print(f"Written to {path}{_and_report(path)}. Next:")
    is_own = options.table or path.stem != options.hardware.table
    own = f" table={path}" if is_own else ""
    console.print(f"  python -m nas.search +hardware={options.hardware.name}{own}", highlight=False)


def _and_report(path: Path) -> str:
    report = path.with_suffix(".html")
    return f", with the report {report}" if report.exists() else ""


if __name__ == "__main__":
    main()
