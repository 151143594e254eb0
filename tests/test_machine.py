"""What the machine says of itself, on a made root, and threads held on cores for real."""

import os
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.latency.devices.local import LocalDevice
from nas.latency.runner import machine
from nas.latency.runner.machine import (
    UNKNOWN,
    fastest_cores,
    free_memory_bytes,
    pinned,
    this_machine,
)

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin threads"
)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_allowed_cores", lambda: [0, 1, 2])
    for core, clock_khz in enumerate((1_800_000, 2_600_000, 1_800_000)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(f"{clock_khz}\n")
        (folder / "scaling_governor").write_text("schedutil\n")
    for number, degrees in enumerate(("31000", "47400", "-", "")):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(f"{degrees}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Quick CPU\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900 kB\nMemAvailable:     500 kB\n")
    return tmp_path


def test_the_fastest_cores_come_first_and_of_equals_the_last(phone: Path) -> None:
    assert fastest_cores(1, phone) == (1,)
    assert fastest_cores(2, phone) == (1, 2)


def test_the_machine_is_read_from_proc_and_sys(phone: Path) -> None:
    found = this_machine(1, phone)
    assert (found.cpu, found.governor, found.clock_mhz) == ("Quick CPU", "schedutil", "2600")
    assert found.temperature_c == "47"
    assert free_memory_bytes(phone) == 500 * 1024


def test_what_a_machine_hides_is_unknown(tmp_path: Path) -> None:
    found = this_machine(0, tmp_path)
    assert {found.governor, found.clock_mhz, found.temperature_c} == {UNKNOWN}
    assert found.cpu
    assert free_memory_bytes(tmp_path) == 2**30


@needs_affinity
def test_a_thread_is_held_and_let_go() -> None:
    before, priority = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
    chosen = (min(before),)
    with pytest.raises(KeyboardInterrupt), pinned(1, chosen) as cores:
        assert cores == chosen
        assert os.sched_getaffinity(0) == set(chosen)
        raise KeyboardInterrupt
    assert os.sched_getaffinity(0) == before
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority


@needs_affinity
@pytest.mark.parametrize(
    ("threads", "cores", "message"),
    [(100_000, (), "threads must be at most"), (1, (4321,), "cores must be among")],
)
def test_cores_that_are_not_there_are_refused(
    threads: int, cores: tuple[int, ...], message: str
) -> None:
    with pytest.raises(NasError, match=message):
        LocalDevice().facts("onnxruntime", threads, cores)
