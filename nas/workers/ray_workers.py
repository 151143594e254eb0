"""Workers that Ray placed on a cluster, each an actor."""

import re
from collections.abc import Iterator
from typing import Any

from nas.workers.contract import Task, one_line
from nas.workers.crew import Crew


class RayWorkers(Crew):
    """Actors of Ray with a queue of jobs; a cluster that `is_ours` ends with them.

    `actors` makes one, of `nas.workers.remote.Remote`.
    """

    def __init__(
        self,
        ray: Any,
        task: Task,
        actors: Any,
        *,
        n: int,
        timeout_s: float | None,
        is_ours: bool,
    ) -> None:
        description = f"{n} Ray worker{'s' if n > 1 else ''}"
        super().__init__(task, n=n, timeout_s=timeout_s, description=description)
        self._ray, self._actors, self._is_ours = ray, actors, is_ours
        self._said: dict[Any, _Actor] = {}

    def close(self) -> None:
        """Kill the actors, and leave the cluster; one of this command's own ends."""
        super().close()
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()

    def _start(self) -> "_Actor":
        actor = _Actor(ray=self._ray, handle=self._actors.remote(), said=self._said)
        task = self._task
        self._said[actor.handle.make_ready.remote(task.function, dict(task.options))] = actor
        return actor

    def _news(self, seconds: float) -> Iterator[tuple["_Actor", dict[str, Any]]]:
        wait = self._ray.wait
        references = list(self._said)
        if references and wait(references, timeout=seconds)[0]:
            for reference in wait(references, num_returns=len(references), timeout=0)[0]:
                actor = self._said.pop(reference, None)
                if actor is not None:
                    yield actor, self._message(reference)

    def _message(self, reference: Any) -> dict[str, Any]:
        errors = self._ray.exceptions
        try:
            message: dict[str, Any] = self._ray.get(reference)
        except errors.RayTaskError as error:
            message = {"refusal": one_line(str(error))}
        except errors.RayError as error:
            message = {"lost": f"its worker died: {_cause(error)}"}
        return message


class _Actor:
    """A worker on the cluster; `said` has who will speak next, by Ray's references."""

    def __init__(self, *, ray: Any, handle: Any, said: "dict[Any, _Actor]") -> None:
        self._ray, self.handle, self._said = ray, handle, said

    def send(self, message: dict[str, Any]) -> None:
        """Hand a message over; what is said next is waited for."""
        self._said[self.handle.step.remote(message)] = self

    def kill(self) -> None:
        """End it, whatever it is doing."""
        for reference in [one for one, actor in self._said.items() if actor is self]:
            del self._said[reference]
        if self._ray.is_initialized():
            self._ray.kill(self.handle)


def _cause(error: Exception) -> str:
    """Return the sentence of Ray's many that says what happened."""
    text = " ".join(str(error).split())
    found = re.search(r"Worker exit detail: (.*?)(?: Some common causes|$)", text)
    return one_line(found[1] if found else text)[:200]
