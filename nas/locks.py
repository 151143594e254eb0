"""Locks of files and folders between processes; the system ends each with its process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import NasError

try:
    import fcntl
except ImportError:  # Windows, where two processes at one file or folder are not noticed
    fcntl = None  # type: ignore[assignment]


def claimed(descriptor: int) -> bool:
    """Take the lock of an open file until that is closed; tell whether it could be had.

    It cannot while another process has it. Some file systems of networks know no locks: there
    nobody has it.
    """
    if fcntl:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return not isinstance(error, BlockingIOError)
    return True


@contextmanager
def folder_claimed(path: Path) -> Iterator[None]:
    """Keep a run folder from other commands.

    Raises:
        NasError: another command has it.
    """
    if not fcntl:  # nor can a folder be opened there
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not claimed(descriptor):
            raise NasError(
                f"{path} is being written by another command. Wait for it, or choose another "
                "hydra.run.dir=."
            )
        yield
    finally:
        os.close(descriptor)


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
