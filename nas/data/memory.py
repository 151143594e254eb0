"""How much memory images may take."""

import os
from contextlib import suppress
from pathlib import Path

from nas.errors import NasError

SHARE = 0.5
"""Of the memory that is free: writing the cache and training on the images take more."""


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse images that take more than half of the memory that is free.

    Raises:
        NasError: it says how many GiB they would take and what to lower.
    """
    free = available_bytes()
    if n_bytes > SHARE * free:
        raise NasError(
            f"{what} would take {n_bytes / 2**30:.1f} GiB of memory, and must take at most half of "
            f"what is free, {SHARE * free / 2**30:.1f} GiB. Lower data.size or data.limit."
        )


def available_bytes() -> int:
    """Return the bytes that this process can still take, as far as the system tells."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        words = next(line.split() for line in lines if line.startswith("MemAvailable:"))
        free = min(free, int(words[1]) * 1024)
    group = Path("/sys/fs/cgroup")  # a container's own limit; "max" where there is none
    with suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int((group / "memory.current").read_text(encoding="ascii")))
    return max(free, 0)
