"""The default: all cores for work that takes seconds, this process for what answers at once."""

import sys

from nas.workers.contract import Task, Workers
from nas.workers.local import Local
from nas.workers.processes import Processes


class Automatic:
    """Chooses processes where a task is dear and several cores are there, else this process.

    Args:
        n, timeout_s, memory_mib: see `Processes`.

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
        # A limit can only be kept for another process.
        self._is_limited = timeout_s is not None or memory_mib is not None
        self._processes = Processes(n=n, timeout_s=timeout_s, memory_mib=memory_mib)

    def start(self, task: Task) -> Workers:
        """Return the workers that fit the task."""
        is_side_by_side = (
            task.is_dear and self._processes.n_for(task) > 1 and sys.platform != "win32"
        )
        if self._is_limited or is_side_by_side:
            return self._processes.start(task)
        return Local().start(task)
