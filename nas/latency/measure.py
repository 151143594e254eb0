"""From layers to a latency table, measured on this machine; interrupted, it goes on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from nas.arch import Layer
from nas.latency.devices import Device, pinned
from nas.latency.raw_times import appending, check_conditions, raw_times_path, read_raw_times
from nas.latency.readings import ANCHOR, Reading, anchor_drift_percent, measurements
from nas.latency.runtimes import Runtime, prepare_layer
from nas.latency.table import VERSION, LatencyTable, Row
from nas.latency.timing import Plan, n_visits, time_rounds

# A block of V3-Large's middle: neither call overhead nor the largest caches decide its time.
ANCHOR_LAYER = Layer.parse("mb k3 80>184>80 s1 hs @14")
OnStep = Callable[[str, int, int], None]
"""Called with what is being done, the steps done, and the steps in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how layers are timed: what a table's header says, and what rows may be mixed."""

    hardware: str
    device: Device
    runtime: Runtime
    threads: int
    dtype: str

    @property
    def conditions(self) -> dict[str, str]:
        """Return what must agree for two rows to be comparable."""
        return {
            "device": self.hardware,
            "cpu": self.device.cpu,
            "runtime": self.runtime.name,
            "runtime_version": self.runtime.version,
            "threads": str(self.threads),
            "dtype": self.dtype,
            "batch": "1",
        }


def measure(
    layers: Iterable[Layer],
    path: Path,
    setting: Setting,
    plan: Plan,
    *,
    seed: int,
    on_step: OnStep,
) -> LatencyTable:
    """Time the layers that the table at `path` lacks, write it and return it.

    Every visit is kept beside the table as it ends (see `nas.latency.raw_times`): run again after
    an interruption, this goes on from there. The table itself is written when it is complete.

    Raises:
        NasError: the files at `path` are broken or were measured under other conditions.
    """
    known = LatencyTable.load(path) if path.exists() else None
    if known:
        check_conditions(known.header, setting.conditions, path)
    kept = dict(known.rows) if known else {}
    wanted = [layer for layer in dict.fromkeys(layers) if layer not in kept]
    if known and not wanted:
        return known
    with pinned(setting.threads) as cores:
        readings = _time_layers(wanted, path, setting, plan, seed, on_step)
    rows = kept | _rows(wanted, readings)
    header = _header(setting, cores, readings)
    table = LatencyTable(name=path.stem, header=header, rows=rows)
    table.save(path)
    return table


def start_afresh(path: Path) -> None:
    """Delete the table at `path` and its raw times."""
    path.unlink(missing_ok=True)
    raw_times_path(path).unlink(missing_ok=True)


def _time_layers(
    layers: Sequence[Layer],
    path: Path,
    setting: Setting,
    plan: Plan,
    seed: int,
    on_step: OnStep,
) -> list[Reading]:
    raw_path, conditions = raw_times_path(path), setting.conditions
    readings = read_raw_times(raw_path, conditions)
    done = {(reading.name, reading.round) for reading in readings}
    left = [layer for layer in layers if n_visits([str(layer)], plan, done)]
    runs = {}
    for number, layer in enumerate(left, start=1):
        runs[str(layer)] = prepare_layer(setting.runtime, layer)
        on_step("preparing", number, len(left))
    n_left = n_visits(runs, plan, done)
    anchor = prepare_layer(setting.runtime, ANCHOR_LAYER)
    start_s = readings[-1].at_s if readings else 0.0
    n_timed = 0
    with appending(raw_path, conditions) as append:
        for reading in time_rounds(runs, anchor, plan, seed=seed, done=done, start_s=start_s):
            append(reading)
            readings.append(reading)
            n_timed += reading.name != ANCHOR
            on_step("timing", n_timed, n_left)
    return readings


def _rows(layers: Sequence[Layer], readings: Sequence[Reading]) -> dict[Layer, Row]:
    found = measurements(readings)
    rows = {}
    for layer in layers:
        measured = found[str(layer)]
        rows[layer] = Row(layer=layer, ms=measured.ms, iqr_ms=measured.iqr_ms, n=measured.n)
    return rows


def _header(
    setting: Setting, cores: tuple[int, ...], readings: Sequence[Reading]
) -> Mapping[str, str]:
    return {
        "version": str(VERSION),
        **setting.conditions,
        "cores": " ".join(map(str, cores)) or "not pinned",
        "governor": setting.device.governor,
        "clock_mhz": setting.device.clock_mhz,
        "date": date.today().isoformat(),
        "anchor": str(ANCHOR_LAYER),
        "anchor_drift_percent": f"{anchor_drift_percent(readings):.1f}",
        "seconds": f"{readings[-1].at_s:.1f}",
    }
