"""No other process: each job is done when its end is asked for."""

import time
from collections import deque
from itertools import count
from typing import Any

from nas.workers.contract import Ask, Ended, Failure, Task, Work, work_of


class Local:
    """Chooses this process: one job after the other, and nothing to hand over."""

    def start(self, task: Task) -> "LocalWorkers":
        """Return the one worker that there is."""
        return LocalWorkers(task.here() if task.here else _plainly(task))


class LocalWorkers:
    """Does jobs in this process, in the order in which they came."""

    n = 1
    description = "this process"

    def __init__(self, work: Work) -> None:
        self._work = work
        self._jobs: deque[tuple[int, Any, Ask]] = deque()
        self._numbers = count()

    def submit(self, job: Any, on_ask: Ask | None = None) -> int:
        """Queue a job and return its number."""
        number = next(self._numbers)
        self._jobs.append((number, job, on_ask or _silent))
        return number

    def ended(self, timeout: float | None = None) -> list[Ended]:
        """Do the next job, however long it takes, and return how it ended."""
        if not self._jobs:
            return []
        number, job, ask = self._jobs.popleft()
        return [done(self._work, number, job, ask)]

    def close(self) -> None:
        """Forget the jobs that are left."""
        self._jobs.clear()


def done(work: Work, number: int, job: Any, ask: Ask) -> Ended:
    """Do a job and return how it ended; an interruption goes through."""
    begun = time.perf_counter()
    try:
        value, failure = work(job, ask), None
    except (Exception, SystemExit) as error:  # a proxy is anybody's code
        value, failure = None, Failure.of(error)
    seconds = round(time.perf_counter() - begun, 6)
    return Ended(number=number, value=value, failure=failure, seconds=seconds)


def _plainly(task: Task) -> Work:
    work = work_of(task.function, task.options)
    return lambda job, ask: work(task.plain(job), ask)


def _silent(_: Any) -> None:
    return None
