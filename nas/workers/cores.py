"""How many cores this process may use."""

import os
from contextlib import suppress
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def n_cores(limit: Path = _CGROUP) -> int:
    """Return the cores of its affinity mask, or fewer where a container limits their time."""
    n = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        n = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):  # "max 100000" where there is no limit
        quota, period = map(int, limit.read_text(encoding="ascii").split())
        n = min(n, ceil(quota / period))
    return max(1, n)
