"""What all workers outside this process share: a queue, limits, and the loss of a worker."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from nas.errors import NasError
from nas.workers.contract import Ask, Ended, Failure, Task

MAX_WORKERS = 10_000
N_TRIES = 2
"""Of a job whose worker dies."""
N_FALSE_STARTS = 5
"""Workers in a row that may die before they are ready."""
START_SECONDS = 600.0
"""After so long without any worker that is ready, none is expected any more."""
_LOOK_SECONDS = 1.0
"""The longest wait for news, as some losses tell nobody."""


@dataclass(kw_only=True, eq=False)
class Order:
    """A job on its way: who answers for it, and how often a worker was lost with it."""

    number: int
    job: Any
    on_ask: Ask | None
    n_lost: int = 0


@dataclass(kw_only=True, eq=False)
class Post:
    """A worker as its crew sees it: what it is doing, and since when."""

    worker: "Worker"
    order: Order | None = None
    is_ready: bool = False
    since: float = field(default_factory=time.monotonic)


class Worker(Protocol):
    """Somebody elsewhere who was told to make ready for a task; see `Crew` for what it says."""

    def send(self, message: dict[str, Any]) -> None:
        """Hand over `{"number", "job"}`, or `{"answer"}` to its question."""

    def kill(self) -> None:
        """End it."""


class Crew(ABC):
    """Workers with a queue of jobs.

    What a worker says is one of `{"ready"}`, `{"refusal": reason}` when it cannot make ready,
    `{"question"}`, and `{"ended", "seconds", "value" or "failure"}`; what is said of one that died
    is `{"lost": reason}`. It is replaced, and its job tried once more. One whose job takes longer
    than `timeout_s` is killed, and the job not tried again.
    """

    def __init__(self, task: Task, *, n: int, timeout_s: float | None, description: str) -> None:
        self.n = n
        self.description = description
        self._task, self._timeout_s = task, timeout_s
        self._queue: deque[Order] = deque()
        self._posts: list[Post] = []
        self._ended: list[Ended] = []
        self._numbers = count()
        self._n_false_starts = 0
        self._ready_at = float("inf")

    @abstractmethod
    def _start(self) -> Worker:
        """Start a worker that makes itself ready for the task."""

    @abstractmethod
    def _news(self, seconds: float) -> Iterable[tuple[Worker, dict[str, Any]]]:
        """Wait for so long at most, and return who said what."""

    def submit(self, job: Any, on_ask: Ask | None = None) -> int:
        """Queue a job, hand it to a worker that is free, and return its number."""
        order = Order(number=next(self._numbers), job=self._task.plain(job), on_ask=on_ask)
        self._queue.append(order)
        self._hand_out()
        return order.number

    def ended(self, timeout: float | None = None) -> list[Ended]:
        """Return the jobs that ended; wait for the first of them, or for `timeout` seconds."""
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._ended and (self._queue or any(post.order for post in self._posts)):
            left = min(until, *map(self._limit, self._posts)) - time.monotonic()
            self._listen(min(max(left, 0.0), _LOOK_SECONDS))
            self._hand_out()
            if time.monotonic() >= until:
                break
        found, self._ended = self._ended, []
        return found

    def close(self) -> None:
        """End the workers, with whatever they are doing."""
        self._queue.clear()
        while self._posts:
            self._posts.pop().worker.kill()

    def _hand_out(self) -> None:
        for post in self._posts:
            if self._queue and post.is_ready and post.order is None:
                order = self._queue.popleft()
                post.order, post.since = order, time.monotonic()
                post.worker.send({"number": order.number, "job": order.job})
        n_starting = sum(not post.is_ready for post in self._posts)
        while n_starting < len(self._queue) and len(self._posts) < self.n:
            if not self._posts:
                self._ready_at = time.monotonic() + START_SECONDS
            self._posts.append(Post(worker=self._start()))
            n_starting += 1

    def _listen(self, seconds: float) -> None:
        for worker, message in self._news(seconds):
            post = next((one for one in self._posts if one.worker is worker), None)
            if post is not None:
                self._hear(post, message)
        now = time.monotonic()
        for post in [post for post in self._posts if self._limit(post) <= now]:
            self._lose(post, f"it took longer than {self._timeout_s:g} s", is_final=True)
        if now > self._ready_at:
            raise NasError(
                f"no worker got ready within {START_SECONDS:g} s. Look whether there is room for "
                "any, or choose workers=local."
            )

    def _hear(self, post: Post, message: dict[str, Any]) -> None:
        order = post.order
        if "ready" in message:
            post.is_ready, self._n_false_starts, self._ready_at = True, 0, float("inf")
        elif "refusal" in message:
            raise NasError(f"a worker cannot start: {message['refusal']}")
        elif "lost" in message:
            self._lose(post, message["lost"])
        elif order is None:
            raise NasError(f"a worker without a job said {message}. Report this.")
        elif "question" in message:
            answer = order.on_ask(message["question"]) if order.on_ask else None
            post.worker.send({"answer": answer})
        else:
            failure = Failure(**message["failure"]) if message.get("failure") else None
            post.order = None
            self._ended.append(
                Ended(
                    number=order.number,
                    value=message.get("value"),
                    failure=failure,
                    seconds=message["seconds"],
                )
            )

    def _lose(self, post: Post, reason: str, *, is_final: bool = False) -> None:
        self._posts.remove(post)
        post.worker.kill()
        if not post.is_ready:
            self._n_false_starts += 1
            if self._n_false_starts >= N_FALSE_STARTS:
                raise NasError(f"no worker gets ready: {reason}. Try workers=local.")
        order = post.order
        if order is None:
            return
        order.n_lost += 1
        if order.n_lost < N_TRIES and not is_final:
            self._queue.appendleft(order)
            return
        seconds = round(time.monotonic() - post.since, 6)
        failure = Failure(kind="lost", reason=reason)
        self._ended.append(Ended(number=order.number, failure=failure, seconds=seconds))

    def _limit(self, post: Post) -> float:
        """Return when a worker's time is up."""
        if self._timeout_s is None or post.order is None:
            return float("inf")
        return post.since + self._timeout_s


def checked_timeout(timeout_s: float | None) -> float | None:
    """Return a job's limit in seconds.

    Raises:
        NasError: it is none.
    """
    is_number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if timeout_s is not None and not (is_number and 0 < timeout_s <= 10**7):
        raise NasError(f"workers.timeout_s must be seconds above 0, but is {timeout_s}.")
    return timeout_s
