"""The machine that measures: what it is, and a thread held on one of its cores."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NasError

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is known of a machine; `governor` and `clock_mhz` are `unknown` where it hides them."""

    cpu: str
    n_cores: int
    governor: str
    clock_mhz: str


def local_device(root: Path = Path("/")) -> Device:
    """Return what this machine says of itself under `root`, where Linux keeps proc and sys."""
    core = root / f"sys/devices/system/cpu/cpu{fastest_cores(1, root)[0]}/cpufreq"
    clock_khz = _read(core / "cpuinfo_max_freq")
    return Device(
        cpu=_cpu_name(root),
        n_cores=os.cpu_count() or 1,
        governor=_read(core / "scaling_governor") or UNKNOWN,
        clock_mhz=str(int(clock_khz) // 1000) if clock_khz.isdigit() else UNKNOWN,
    )


def fastest_cores(n: int, root: Path = Path("/")) -> tuple[int, ...]:
    """Return `n` cores of this process, the highest clocked ones; of equals the last numbers.

    Phones and boards mix fast and slow cores, and the first core serves most interrupts.

    Raises:
        NasError: the process may not use that many.
    """
    allowed = _allowed_cores()
    if n > len(allowed):
        raise NasError(
            f"threads must be at most {len(allowed)}, the cores this process may use, but is {n}. "
            "Lower threads of the hardware file."
        )
    return tuple(sorted(sorted(allowed, key=lambda core: (_clock(core, root), core))[-n:]))


@contextmanager
def pinned(n_cores: int) -> Iterator[tuple[int, ...]]:
    """Hold this thread, and those it starts, on the fastest cores; yield them.

    Yields nothing in the tuple where the system has no such call (macOS, Windows).
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    cores = fastest_cores(n_cores)
    os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)


def _allowed_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _clock(core: int, root: Path) -> int:
    text = _read(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq")
    return int(text) if text.isdigit() else 0


def _cpu_name(root: Path) -> str:
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware"):
            return value.strip()
    # Boards name themselves here; the text ends in a zero byte.
    board = _read(root / "proc/device-tree/model").rstrip("\0")
    return board or platform.processor() or platform.machine() or UNKNOWN


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
