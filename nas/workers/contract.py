"""What a command asks of its workers: they take jobs, and tell how each of them ended."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, Literal, Protocol

from nas.errors import NasError, NetworkError

MAX_REASON = 500
Ask = Callable[[Any], Any]
"""How work under way asks whoever gave it; of anything that JSON can write, both ways."""
Work = Callable[[Any, Ask], Any]
"""Does one job and returns what came of it; see `Ask`."""
Kind = Literal["network", "options", "error", "lost"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What workers are made for.

    A worker elsewhere calls `function` ("package.module:name", importable there) with `options`,
    which JSON can write, and gets the `Work` that does jobs; so nothing of this process is needed
    there. Each job is handed over as `plain` gives it. In this process, `here` makes the work where
    it is given, and takes the jobs as they are. Work that `is_dear` takes seconds a job; `cores` is
    how many of them a job computes on.
    """

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    plain: Callable[[Any], Any] = lambda job: job
    here: Callable[[], Work] | None = None
    is_dear: bool = True
    cores: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job came to nothing, in one line.

    It is the `network` that cannot be judged, the `options` that are wrong for every job, another
    `error` (of the proxy's own code), or a worker that was `lost` with the job.
    """

    kind: Kind
    reason: str
    cause: BaseException | None = field(default=None, compare=False)

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Return the failure that an exception stands for."""
        if isinstance(error, NasError):
            kind: Kind = "options" if type(error) is NasError else "network"
            return cls(kind=kind, reason=one_line(str(error)), cause=error)
        frames = extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        text = one_line(f"{type(error).__name__}: {error}".rstrip(": "))
        return cls(kind="error", reason=text + where, cause=error)

    def error(self) -> NasError:
        """Return what to raise where the failure ends the command."""
        wrong = NasError if self.kind == "options" else NetworkError
        raised = wrong(self.reason)
        raised.__cause__ = self.cause
        return raised


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job that ended: its number, its value or its failure, and the seconds that it ran."""

    number: int
    value: Any = None
    failure: Failure | None = None
    seconds: float = 0.0

    def message(self) -> dict[str, Any]:
        """Return what a worker elsewhere says of it, as JSON can write it."""
        said = {"ended": self.number, "seconds": self.seconds}
        if self.failure is None:
            return {**said, "value": self.value}
        return {**said, "failure": {"kind": self.failure.kind, "reason": self.failure.reason}}


class Workers(Protocol):
    """So many workers with a queue of jobs."""

    @property
    def n(self) -> int:
        """Return how many jobs run at the same time."""

    @property
    def description(self) -> str:
        """Return who they are, such as `2 processes`."""

    def submit(self, job: Any, on_ask: Ask | None = None) -> int:
        """Take a job and return its number; `on_ask` answers what its work asks meanwhile."""

    def ended(self, timeout: float | None = None) -> list[Ended]:
        """Return the jobs that ended since the last call; wait for the first of them.

        The list is empty when `timeout` seconds passed, or when there is no job.

        Raises:
            NasError: no worker can be made.
        """

    def close(self) -> None:
        """End the workers, with whatever they are doing."""


class Staff(Protocol):
    """How workers are chosen: the object that a file of conf/workers makes."""

    def start(self, task: Task) -> Workers:
        """Return workers for a task; they come to life with their first job.

        Raises:
            NasError: what they need is missing.
        """


def work_of(function: str, options: Mapping[str, Any]) -> Work:
    """Make the work of a task where its name is known.

    Raises:
        NasError: nothing of that name can be imported.
    """
    module, _, name = function.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NasError(
            f"a task must name package.module:function, importable by every worker, but is "
            f"{function} ({error}). Install the package where the workers run."
        ) from error
    work: Work = make(options)
    return work


def one_line(text: str) -> str:
    """Return a text in one line of at most `MAX_REASON` characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 3]}..."
