"""From layers to a table that agrees with the device: measure, calibrate, check."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Self

from nas.arch import Layer
from nas.latency.assembly import assemble, check, today
from nas.latency.check import check_path
from nas.latency.companions import layer_companions
from nas.latency.device_offsets import devices_header
from nas.latency.devices.contract import Device, Facts
from nas.latency.raw_times import check_conditions, raw_times_path
from nas.latency.runner.timing import Plan
from nas.latency.runtimes.contract import Runtime
from nas.latency.session import ANCHOR_LAYER, Session, Timings
from nas.latency.settings import HardwareSettings
from nas.latency.subjects import Probes, Subject
from nas.latency.table import VERSION, LatencyTable
from nas.report.table_page import render_table_report, report_path
from nas.steps import OnStep
from nas.text import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how to time: what a table's header says, and what rows may be mixed."""

    hardware: str
    device: Device
    runtime: Runtime
    threads: int = 1
    cores: tuple[int, ...] = ()

    @classmethod
    def of(cls, hardware: HardwareSettings, device: Device, runtime: Runtime) -> Self:
        """Return that of a file of conf/hardware, whose device and runtime are open."""
        return cls(
            hardware=hardware.name,
            device=device,
            runtime=runtime,
            threads=hardware.threads,
            cores=tuple(hardware.cores),
        )

    def facts(self) -> Facts:
        """Return what the device says of itself."""
        return self.device.facts(self.runtime.name, self.threads, self.cores)

    def conditions(self, facts: Facts) -> dict[str, str]:
        """Return what must agree for two rows to be comparable."""
        return {
            "device": self.hardware,
            "cpu": facts.cpu,
            "runtime": self.runtime.name,
            "runtime_version": facts.runtime_version,
            "mode": self.runtime.mode or "none",
            "threads": str(self.threads),
            "dtype": self.runtime.dtype,
            "batch": "1",
        }


def measure(
    layers: Sequence[Layer],
    probes: Probes,
    path: Path,
    setting: Setting,
    plan: Plan,
    *,
    seed: int,
    on_step: OnStep,
) -> LatencyTable:
    """Time the layers that the table at `path` lacks, and the probes; write the table.

    The calibration's probes correct the new rows; the check's networks are compared with the sums,
    and that is written beside the table (see `nas.latency.check`). Every visit is kept as it ends
    (see `nas.latency.raw_times`): run again after an interruption, this goes on from there. The
    table itself is written when it is complete.

    Raises:
        NasError: the files at `path` are broken or were measured under other conditions, the device
            was lost, or it cannot run a model.
    """
    known = LatencyTable.load(path) if path.exists() else None
    facts = setting.facts()
    conditions = setting.conditions(facts)
    if known:
        check_conditions(known.header, conditions, path)
    wanted = [*known.missing(layers)] if known else list(dict.fromkeys(layers))
    if known and not wanted and not probes.all:
        return known
    n_earlier = _n_sessions(known)
    session = Session(
        device=setting.device,
        runtime=setting.runtime,
        threads=setting.threads,
        cores=setting.cores,
        plan=plan,
        seed=seed,
        raw_path=raw_times_path(path, n_earlier),
        conditions=conditions,
        on_step=on_step,
    )
    timings = session.time(
        [
            *map(Subject.of_layers, wanted),
            *(one.subject for one in layer_companions(known)),
            *probes.all,
        ],
    )
    found = today(known, timings.measurements)
    made = assemble(wanted, known, probes, found)
    table = LatencyTable(name=path.stem, header={}, rows=made.rows)
    checked = check(table, probes, found)
    header = {
        "version": str(VERSION),
        **conditions,
        **_about(facts, setting.facts(), timings, n_earlier + 1),
        **({"correction": str(made.correction)} if made.correction else {}),
        **(checked.header() if checked.networks else _earlier_check(known)),
    }
    table = replace(table, header=header)
    if checked.networks:
        checked.save(check_path(path), conditions)
    write_text(report_path(path), render_table_report(table, checked))
    table.save(path)
    return table


def start_afresh(path: Path) -> None:
    """Delete the table at `path`, its check, its report and its raw times."""
    raw = path.parent.glob(f"{path.stem}.raw*.jsonl")
    for file in (path, check_path(path), report_path(path), *raw):
        file.unlink(missing_ok=True)


def _about(before: Facts, after: Facts, timings: Timings, n_sessions: int) -> dict[str, str]:
    temperatures = dict.fromkeys((before.temperature_c, after.temperature_c))
    return {
        "cores": " ".join(map(str, before.cores)) or "not pinned",
        "governor": before.governor,
        "clock_mhz": before.clock_mhz,
        "temperature_c": " to ".join(temperatures),
        "date": date.today().isoformat(),
        "anchor": str(ANCHOR_LAYER),
        "anchor_drift_percent": f"{timings.anchor_drift_percent:.1f}",
        "seconds": f"{timings.seconds:.1f}",
        "sessions": str(n_sessions),
        **devices_header(timings.device_paces),
    }


def _n_sessions(known: LatencyTable | None) -> int:
    text = known.header.get("sessions", "1") if known else "0"
    return int(text) if text.isdigit() else 1


def _earlier_check(known: LatencyTable | None) -> dict[str, str]:
    header = known.header if known else {}
    return {key: value for key, value in header.items() if key.startswith("check_")}
