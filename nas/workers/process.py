"""A worker process, `python -m nas.workers.process`: it reads jobs from a pipe and does them.

It ends with whoever started it: with the end of the pipe, and on Linux at once by a signal.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any

from nas.errors import NasError
from nas.workers.contract import Failure, work_of
from nas.workers.local import done

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Make the work that the first message names, then do jobs until the pipe ends."""
    commands, replies = _own_pipes()
    order = json.loads(commands.readline())
    _end_with(order["parent"])
    messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(commands, messages), daemon=True).start()

    def say(**message: Any) -> None:
        replies.write(json.dumps(message).encode() + b"\n")
        replies.flush()

    def ask(question: Any) -> Any:
        say(question=question)
        return messages.get()["answer"]

    try:
        _limit_memory(order["memory_mib"])
        work = work_of(order["function"], order["options"])
    except (Exception, SystemExit) as error:
        say(refusal=Failure.of(error).reason)
        return
    say(ready=os.getpid())
    while True:
        message = messages.get()
        ended = done(work, message["number"], message["job"], ask)
        say(**ended.message())


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the two pipes from everything else: what the work prints goes to the complaints."""
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, replies


def _listen(commands: IO[bytes], messages: "SimpleQueue[dict[str, Any]]") -> None:
    for line in commands:
        messages.put(json.loads(line))
    _end()


def _end() -> None:
    # Nobody listens any more, and the work may never look up.
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with(parent: int | None) -> None:
    if parent is None or sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        _end()


def _limit_memory(memory_mib: int | None) -> None:
    if memory_mib is None:
        return
    try:
        import resource
    except ImportError as error:
        raise NasError("workers.memory_mib cannot be kept on this system. Leave it out.") from error
    # Private memory that can be written: files that are mapped, and libraries, do not count.
    limit = memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
