"""What every device answers: what it is, and how long model files take on it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from nas.errors import NasError
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import Reading
from nas.steps import OnStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a table's header says of a device; `unknown` where it hides it."""

    cpu: str
    n_cores: int
    cores: tuple[int, ...]
    governor: str
    clock_mhz: str
    temperature_c: str
    runtime_version: str


class LostDeviceError(NasError):
    """Report that a device does not answer, not what was done on it."""


class Device(Protocol):
    """A machine that times model files."""

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        """Return what the device says of itself, and the cores that would be timed on.

        Raises:
            NasError: it cannot be reached, or lacks what it needs to run models of that runtime.
        """

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        """Yield a reading a visit, as it ends, leaving out the (name, round) pairs `done`.

        `on_step` hears of copying and opening models. Whoever stops early, or loses the device,
        calls again with what was yielded as `done`.

        Raises:
            NasError: the device was lost, or a model does not run on it.
        """

    def forget(self) -> None:
        """Drop what the device keeps of earlier readings, so that all is measured again."""
