"""Workers on this machine: processes that are started anew, watched, and replaced when they die."""

import selectors
import time
from collections import deque
from itertools import count
from typing import Any

from nas.errors import NasError
from nas.text import integer
from nas.workers.child import Child, Order
from nas.workers.contract import Ask, Ended, Failure, Task
from nas.workers.cores import n_cores

MAX_WORKERS = 1024
N_TRIES = 2
"""Of a job whose worker dies."""
N_FALSE_STARTS = 5
"""Workers in a row that may die before they are ready."""
START_SECONDS = 300.0
"""A worker that starts has at least so long where jobs have a limit."""
_LOOK_SECONDS = 1.0
"""After so long a worker is looked for whose pipes somebody else holds open."""


class Processes:
    """Chooses processes of this machine, with one thread of torch each.

    Args:
        n: how many; None: as many as this process may use cores.
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
        self.n = n_cores() if n is None else integer(n, "workers.n", 1, MAX_WORKERS)
        if memory_mib is not None:
            integer(memory_mib, "workers.memory_mib", 64, 2**30)
        self.memory_mib = memory_mib
        self.timeout_s = checked_timeout(timeout_s)

    def start(self, task: Task) -> "ProcessWorkers":
        """Return the workers; a process starts with the first job that finds all others busy."""
        return ProcessWorkers(task, n=self.n, timeout_s=self.timeout_s, memory_mib=self.memory_mib)


def checked_timeout(timeout_s: float | None) -> float | None:
    """Return a job's limit in seconds.

    Raises:
        NasError: it is none.
    """
    is_number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if timeout_s is not None and not (is_number and 0 < timeout_s <= 10**7):
        raise NasError(f"workers.timeout_s must be seconds above 0, but is {timeout_s}.")
    return timeout_s


class ProcessWorkers:
    """Processes with a queue of jobs.

    A worker that dies is replaced and its job tried once more; one whose job takes too long is
    killed, and the job not tried again.
    """

    def __init__(
        self, task: Task, *, n: int, timeout_s: float | None, memory_mib: int | None
    ) -> None:
        self.n = n
        self.description = "1 process" if n == 1 else f"{n} processes"
        self._task, self._timeout_s, self._memory_mib = task, timeout_s, memory_mib
        self._queue: deque[Order] = deque()
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._ended: list[Ended] = []
        self._numbers = count()
        self._n_false_starts = 0

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that there are."""
        return [child.pid for child in self._children]

    def submit(self, job: Any, on_ask: Ask | None = None) -> int:
        """Queue a job, hand it to a worker that is free, and return its number."""
        order = Order(next(self._numbers), self._task.plain(job), on_ask)
        self._queue.append(order)
        self._hand_out()
        return order.number

    def ended(self, timeout: float | None = None) -> list[Ended]:
        """Return the jobs that ended; wait for the first of them, or for `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ended and any(child.order for child in self._children):
            left = _LOOK_SECONDS if until is None else until - time.monotonic()
            self._listen(min(max(left, 0.0), self._time_to_limit(), _LOOK_SECONDS))
            self._hand_out()
            if until is not None and time.monotonic() >= until:
                break
        found, self._ended = self._ended, []
        return found

    def close(self) -> None:
        """Kill the workers."""
        self._queue.clear()
        for child in list(self._children):
            self._dismiss(child)
        self._selector.close()

    def _hand_out(self) -> None:
        while self._queue:
            child = next((one for one in self._children if one.order is None), None)
            if child is None:
                if len(self._children) >= self.n:
                    return
                child = self._started()
            child.give(self._queue.popleft())

    def _started(self) -> Child:
        try:
            child = Child(self._task, self._memory_mib)
        except OSError as error:
            raise NasError(
                f"no worker can be started: {error.strerror}. Lower workers.n ({self.n})."
            ) from error
        self._children.append(child)
        for pipe in (child.replies, child.complaints):
            self._selector.register(pipe, selectors.EVENT_READ, child)
        return child

    def _dismiss(self, child: Child) -> None:
        for pipe in (child.replies, child.complaints):
            self._selector.unregister(pipe)
        self._children.remove(child)
        child.kill()

    def _listen(self, seconds: float) -> None:
        heard = {key.data for key, _ in self._selector.select(seconds)}
        now = time.monotonic()
        for child in list(self._children):
            has_ended = child.has_ended()  # before it is listened to for the last time
            if child in heard or has_ended:
                for message in child.messages():
                    self._hear(child, message)
            if has_ended:
                self._lose(child, child.reason())
            elif self._limit(child) <= now:
                self._lose(child, f"it took longer than {self._timeout_s:g} s", is_final=True)

    def _hear(self, child: Child, message: dict[str, Any]) -> None:
        if "refusal" in message:
            raise NasError(f"a worker cannot start: {message['refusal']}")
        if "ready" in message:
            child.is_ready, child.since, self._n_false_starts = True, time.monotonic(), 0
            return
        order = child.order
        assert order is not None, "a worker speaks of a job that it does not have"
        if "question" in message:
            answer = order.on_ask(message["question"]) if order.on_ask else None
            child.send({"answer": answer})
            return
        failure = Failure(**message["failure"]) if "failure" in message else None
        self._ended.append(
            Ended(
                number=order.number,
                value=message.get("value"),
                failure=failure,
                seconds=message["seconds"],
            )
        )
        child.order = None

    def _lose(self, child: Child, reason: str, *, is_final: bool = False) -> None:
        self._dismiss(child)
        if not child.is_ready:
            self._n_false_starts += 1
            if self._n_false_starts >= N_FALSE_STARTS:
                raise NasError(f"no worker gets ready: {reason}. Try workers=local.")
        order = child.order
        if order is None:
            return
        order.n_lost += child.is_ready
        if order.n_lost < N_TRIES and not is_final:
            self._queue.appendleft(order)
            return
        failure = Failure(kind="lost", reason=reason)
        seconds = round(time.monotonic() - child.since, 6)
        self._ended.append(Ended(number=order.number, failure=failure, seconds=seconds))

    def _limit(self, child: Child) -> float:
        """Return when a worker's time is up."""
        if self._timeout_s is None or child.order is None:
            return float("inf")
        own = self._timeout_s if child.is_ready else max(START_SECONDS, self._timeout_s)
        return child.since + own

    def _time_to_limit(self) -> float:
        limits = [self._limit(child) for child in self._children]
        return max(0.0, min(limits, default=float("inf")) - time.monotonic())
