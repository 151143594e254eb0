"""Locks of files between processes; the system ends them with the process, however that ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two processes may train the same network at the same time
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Hold the lock of an open file, until that is closed; wait while another process has it."""
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield


@contextmanager
def file_locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is made for it; whoever holds it may remove the file."""
    while True:
        with path.open("ab") as file, locked(file.fileno()):
            # Whoever held the lock before took the file away: then this is the lock of nothing.
            if not _is_at(path, file.fileno()):
                continue
            yield
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
