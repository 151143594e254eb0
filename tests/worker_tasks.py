"""Work for workers, by name: what goes well, and every way in which it may not."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import NasError, NetworkError
from nas.workers.contract import Ask, Work


def make(options: Mapping[str, Any]) -> Work:
    """Return work that does what each job, `[verb, ...]`, says."""
    if options.get("is_wrong"):
        raise NasError("proxy.width must be above 0.")
    if options.get("dies_at_start"):
        os.kill(os.getpid(), signal.SIGKILL)

    def work(job: list[Any], ask: Ask) -> Any:
        verb, *arguments = job
        return VERBS[verb](*arguments, ask=ask)

    return work


def double(number: float, *, ask: Ask) -> float:
    return 2 * number


def sleep(seconds: float, *, ask: Ask) -> float:
    time.sleep(seconds)
    return seconds


def talk(n: int, *, ask: Ask) -> int:
    """Count until an answer says to stop."""
    for number in range(n):
        if ask([number, number / 2]):
            return number
    return n


def chatter(*, ask: Ask) -> str:
    print("a proxy that prints " * 10_000)
    sys.stderr.write("and complains\n" * 10_000)
    return sys.stdin.read()


def fail(kind: str, *, ask: Ask) -> None:
    errors = {
        "network": NetworkError("the loss must be a number."),
        "options": NasError("proxy.width must be above 0."),
        "error": ZeroDivisionError("division by zero"),
        "exit": SystemExit(3),
    }
    raise errors[kind]


def die(name: str, *, ask: Ask) -> None:
    os.kill(os.getpid(), signal.Signals[name])


def leave(code: int, *, ask: Ask) -> None:
    sys.stderr.write("no room\n")
    sys.stderr.flush()
    os._exit(code)


def die_once(path: str, *, ask: Ask) -> str:
    """Die where no file is yet, and leave one."""
    if Path(path).exists():
        return "alive"
    Path(path).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "dead"


def eat(*, ask: Ask) -> int:
    return len(bytearray(2**28))


def whoami(*, ask: Ask) -> dict[str, Any]:
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}


VERBS = {
    verb.__name__: verb
    for verb in (double, sleep, talk, chatter, fail, die, leave, die_once, eat, whoami)
}
