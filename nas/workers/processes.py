"""Workers on this machine: processes that are started anew, watched, and replaced when they die."""

import selectors
import sys
from collections.abc import Iterator
from typing import Any

from nas.errors import NasError
from nas.text import integer
from nas.workers.child import Child
from nas.workers.contract import Task
from nas.workers.cores import n_cores
from nas.workers.crew import Crew, checked_timeout

MAX_PROCESSES = 1024


class Processes:
    """Chooses processes of this machine, with one thread of torch each unless the work says more.

    Args:
        n: how many; None: as many as the cores that this process may use have room for.
        timeout_s: seconds that a job may take, after which its worker is killed; None: any.
        memory_mib: MiB of private memory that a worker may take, start included; None: any.

    Raises:
        NasError: an option out of its bounds.
    """

    def __init__(
        self,
        *,
        n: int | None = None,
        timeout_s: float | None = None,
        memory_mib: int | None = None,
    ) -> None:
        self.n = None if n is None else integer(n, "workers.n", 1, MAX_PROCESSES)
        if memory_mib is not None:
            integer(memory_mib, "workers.memory_mib", 64, 2**30)
        self.memory_mib = memory_mib
        self.timeout_s = checked_timeout(timeout_s)

    def n_for(self, task: Task) -> int:
        """Return how many processes a task gets."""
        return self.n or max(1, n_cores() // task.cores)

    def start(self, task: Task) -> "ProcessWorkers":
        """Return the workers; a process starts for a job that finds no other free.

        Raises:
            NasError: the system is Windows, where nobody can listen to two pipes at once.
        """
        if sys.platform == "win32":
            raise NasError("workers=processes is not for Windows. Choose workers=local or ray.")
        n, timeout_s, memory_mib = self.n_for(task), self.timeout_s, self.memory_mib
        return ProcessWorkers(task, n=n, timeout_s=timeout_s, memory_mib=memory_mib)


class ProcessWorkers(Crew):
    """Processes with a queue of jobs; `memory_mib` is a limit for each."""

    def __init__(
        self, task: Task, *, n: int, timeout_s: float | None, memory_mib: int | None
    ) -> None:
        description = "1 process" if n == 1 else f"{n} processes"
        super().__init__(task, n=n, timeout_s=timeout_s, description=description)
        self._memory_mib = memory_mib
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that there are."""
        return list(self._children)

    def close(self) -> None:
        """Kill the processes."""
        super().close()
        self._selector.close()

    def _start(self) -> Child:
        try:
            child = Child(self._task, self._memory_mib, self._forget)
        except OSError as error:
            raise NasError(
                f"no worker can be started: {error.strerror}. Lower workers.n ({self.n})."
            ) from error
        self._children[child.pid] = child
        for pipe in child.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, child)
        return child

    def _forget(self, child: Child) -> None:
        del self._children[child.pid]
        for pipe in child.pipes:
            self._selector.unregister(pipe)

    def _news(self, seconds: float) -> Iterator[tuple[Child, dict[str, Any]]]:
        heard = {key.data for key, _ in self._selector.select(seconds)}
        for child in list(self._children.values()):
            has_ended = child.has_ended()  # before it is listened to for the last time
            if child in heard or has_ended:
                for message in child.messages():
                    yield child, message
            if has_ended:
                yield child, {"lost": child.reason()}
