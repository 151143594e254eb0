"""The folder on a device that holds models, jobs and readings, and who works on them."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PATIENCE_S = 10.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that measures, and the key of its job."""

    pid: int
    key: str


class Folder:
    """Paths of the folder, and its locks.

    Who works holds a lock as long as it lives: a number of a process alone may by now be another's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = root / "models"
        self.log = root / "log.txt"
        self.models.mkdir(parents=True, exist_ok=True)

    def job(self, key: str) -> Path:
        """Return where the job of that key is described."""
        return self.root / f"job-{key}.json"

    def readings(self, key: str) -> Path:
        """Return where the readings of that key are kept, a line each."""
        return self.root / f"readings-{key}.jsonl"

    def progress(self, key: str) -> Path:
        """Return where the number of opened models is told."""
        return self.root / f"progress-{key}.txt"

    def end(self, key: str) -> Path:
        """Return where the job's last worker said how it ended."""
        return self.root / f"end-{key}.json"

    def keys(self) -> list[str]:
        """Return the keys of the jobs that are kept."""
        return [path.stem.removeprefix("job-") for path in self.root.glob("job-*.json")]

    def forget(self, key: str) -> None:
        """Delete what is kept of a job."""
        for path in (self.job, self.readings, self.end, self.progress):
            path(key).unlink(missing_ok=True)

    def worker(self) -> Worker | None:
        """Return who is working."""
        deadline = time.monotonic() + PATIENCE_S
        with self._lock_file("worker") as file:
            while not _is_locked(file, fcntl.LOCK_SH):
                file.seek(0)
                words = file.read().split()
                if len(words) == 2:
                    return Worker(pid=int(words[0]), key=words[1])
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{file.name} is held by what does not name itself")
                time.sleep(POLL_S)
        return None

    @contextmanager
    def working(self, key: str) -> Iterator[None]:
        """Be the worker.

        Raises:
            TimeoutError: another one is.
        """
        with self._lock_file("worker") as file:
            _lock(file)
            file.truncate(0)
            file.write(f"{os.getpid()} {key}\n")
            file.flush()
            yield
            file.truncate(0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from starting and stopping workers meanwhile."""
        with self._lock_file("start") as file:
            _lock(file)
            yield

    def stop_worker(self) -> None:
        """End who is working, at first politely."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            worker = self.worker()
            if worker is None:
                return
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)
            deadline = time.monotonic() + PATIENCE_S
            while self.worker() == worker and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def _lock_file(self, name: str) -> IO[str]:
        return (self.root / f"{name}.lock").open("a+", encoding="utf-8")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file or leave the old one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _lock(file: IO[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _is_locked(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file.name} is held by another process of ours")
        time.sleep(POLL_S)


def _is_locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
