"""One worker process as whoever started it sees it: two pipes with a JSON message a line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from nas.workers.contract import Task, one_line

MODULE = "nas.workers.process"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_KEPT_BYTES = 4000


class Child:
    """A worker process; it is a session of its own: an interruption of the terminal is the
    parent's to handle, and it is killed with all that it started.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(
        self, task: Task, memory_mib: int | None, on_kill: Callable[["Child"], None]
    ) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": paths},
            start_new_session=True,
        )
        self._on_kill = on_kill
        self.pipes = _open(self._process.stdout), _open(self._process.stderr)
        self._begun, self._complaint = b"", b""
        self.send(
            {
                "function": task.function,
                "options": dict(task.options),
                "memory_mib": memory_mib,
                # The system ends a child with the thread that started it.
                "parent": os.getpid() if _is_main_thread() else None,
            }
        )

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Write a message; one that has ended already takes none."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def messages(self) -> list[dict[str, Any]]:
        """Return what it has said by now."""
        replies, complaints = map(_read, self.pipes)
        self._complaint = (self._complaint + complaints)[-_KEPT_BYTES:]
        *lines, self._begun = (self._begun + replies).split(b"\n")
        return [json.loads(line) for line in lines]

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._process.poll() is not None

    def reason(self) -> str:
        """Return how it ended, and its last complaint."""
        code = self._process.wait()
        complaint = self._complaint.decode(errors="replace").strip().rpartition("\n")[2]
        how = f"exited with code {code}" if code >= 0 else f"was killed by {_signal(-code)}"
        if code == -signal.SIGKILL:
            how += ", as the system does where memory runs out"
        return one_line(f"its worker {how}{': ' if complaint else ''}{complaint}")

    def kill(self) -> None:
        """End it and whatever it started."""
        self._on_kill(self)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):  # what it did not read any more
                    pipe.close()


def _open(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    return pipe.fileno()


def _read(descriptor: int) -> bytes:
    found = b""
    with suppress(BlockingIOError):
        while chunk := os.read(descriptor, 65536):
            found += chunk
    return found


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
