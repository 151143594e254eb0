"""A worker on a Ray cluster: the class whose objects Ray makes there."""

import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from nas.workers.contract import Failure, Work, work_of
from nas.workers.local import done


class Remote:
    """Does the jobs of one task; each call hands a message over and returns the next one said.

    The work runs in a thread of its own, so that it may ask in the middle of a job.
    """

    def __init__(self) -> None:
        self._heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._said: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def make_ready(self, function: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make the work, and say `ready` or the `refusal`."""
        try:
            work = work_of(function, options)
        except (Exception, SystemExit) as error:
            return {"refusal": Failure.of(error).reason}
        threading.Thread(target=self._run, args=(work,), daemon=True).start()
        return {"ready": True}

    def step(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take a job or an answer, and return a question or how the job ended."""
        self._heard.put(message)
        return self._said.get()

    def _run(self, work: Work) -> None:
        def ask(question: Any) -> Any:
            self._said.put({"question": question})
            return self._heard.get()["answer"]

        while True:
            message = self._heard.get()
            ended = done(work, message["number"], message["job"], ask)
            self._said.put(ended.message())
