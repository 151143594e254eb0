"""Measure the layers that a table lacks, on the device that the table is of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.arch import Layer
from nas.errors import NasError
from nas.latency.devices.registry import load_device
from nas.latency.measure import Setting, measure
from nas.latency.runner.timing import Plan
from nas.latency.runtimes.registry import load_runtime
from nas.latency.settings import HardwareSettings
from nas.latency.subjects import Probes
from nas.latency.table import LatencyTable
from nas.steps import OnStep

PLAN = Plan(n_rounds=14, n_warmups=1, n_runs=3)


def measuring(
    table: LatencyTable, hardware: Mapping[str, Any], path: Path, on_step: OnStep
) -> Callable[[Sequence[Layer]], LatencyTable]:
    """Return what adds rows to a copy of the table at `path`, under the table's own conditions.

    Raises:
        NasError: the hardware is not measured, the device cannot be reached, or the table is of
            another.
    """
    about = HardwareSettings(**hardware)
    if about.device == "modelled":
        raise NasError(
            f"measure=true needs a device, but {about.name} is modelled. Leave it out: its cost "
            "model prices every width."
        )
    given = {key: table.header.get(key, "none") for key in ("runtime", "dtype", "mode")}
    mode = None if given["mode"] == "none" else given["mode"]
    runtime = load_runtime(given["runtime"], given["dtype"], mode)
    setting = Setting.of(about, load_device(about.device, about.connection), runtime)
    _check(table, setting.conditions(setting.facts()))
    if not path.exists():
        table.save(path)

    def add(layers: Sequence[Layer]) -> LatencyTable:
        return measure(layers, Probes(), path, setting, PLAN, seed=0, on_step=on_step)

    return add


def _check(table: LatencyTable, conditions: Mapping[str, str]) -> None:
    for name, here in conditions.items():
        found = table.header.get(name)
        if found != here:
            raise NasError(
                f"measure=true adds rows to a table of this device, but {table.name} has {name} "
                f"{found}, not {here}. Measure one here: python -m nas.latency "
                f"+hardware={conditions['device']} table=<another>.csv"
            )
