"""The machine that runs this: what it is, and a thread held on some of its cores."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
HIGHEST_PRIORITY = -20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is known of a machine; `unknown` where it hides it.

    `governor` and `clock_mhz` are those of the core that is timed on, `temperature_c` is the
    hottest sensor's.
    """

    cpu: str
    n_cores: int
    governor: str
    clock_mhz: str
    temperature_c: str


def this_machine(core: int, root: Path = Path("/")) -> Machine:
    """Return what this machine says of itself under `root`, where Linux keeps proc and sys."""
    about = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
    clock_khz = _read(about / "cpuinfo_max_freq")
    return Machine(
        cpu=_cpu_name(root),
        n_cores=os.cpu_count() or 1,
        governor=_read(about / "scaling_governor") or UNKNOWN,
        clock_mhz=str(int(clock_khz) // 1000) if clock_khz.isdigit() else UNKNOWN,
        temperature_c=_temperature_c(root),
    )


def fastest_cores(n: int, root: Path = Path("/")) -> tuple[int, ...]:
    """Return `n` cores of this process, the highest clocked ones; of equals the last numbers.

    Phones and boards mix fast and slow cores, and the first core serves most interrupts.

    Raises:
        ValueError: the process may not use that many.
    """
    allowed = _allowed_cores()
    if n > len(allowed):
        raise ValueError(
            f"threads must be at most {len(allowed)}, the cores that may be used, but is {n}. "
            "Lower threads of the hardware file."
        )
    return tuple(sorted(sorted(allowed, key=lambda core: (_clock(core, root), core))[-n:]))


@contextmanager
def pinned(n: int, cores: Sequence[int] = ()) -> Iterator[tuple[int, ...]]:
    """Hold this thread, and those it starts, on `cores`, or else on the `n` fastest; yield them.

    Yields nothing in the tuple where the system has no such call (macOS, Windows).

    Raises:
        ValueError: the process may not use these cores, or not that many.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    if not before.issuperset(cores):
        raise ValueError(
            f"cores must be among {sorted(before)}, those that may be used, but are {[*cores]}. "
            "Correct cores of the hardware file."
        )
    chosen = tuple(cores) or fastest_cores(n)
    os.sched_setaffinity(0, chosen)
    try:
        with _prioritised():
            yield chosen
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _prioritised() -> Iterator[None]:
    """Run before other processes, where the user may ask for that."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, HIGHEST_PRIORITY)
    try:
        yield
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Return what may be used without swapping; 1 GiB where the system does not say."""
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == "MemAvailable" and words and words[0].isdigit():
            return int(words[0]) * 1024
    return 2**30


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


def _temperature_c(root: Path) -> str:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [int(text) / 1000 for text in map(_read, zones) if text.lstrip("-").isdigit()]
    return f"{max(degrees):.0f}" if degrees else UNKNOWN


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
