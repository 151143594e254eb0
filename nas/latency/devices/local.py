"""The machine that this runs on."""

from collections.abc import Collection, Iterator
from dataclasses import asdict

from nas.errors import NasError
from nas.latency.devices.contract import Facts
from nas.latency.runner.bench import Job, time_models
from nas.latency.runner.machine import pinned, this_machine
from nas.latency.runner.sessions import MissingPackageError, runtime_version
from nas.latency.runner.timing import Reading
from nas.steps import OnStep


class LocalDevice:
    """Time in this process."""

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        """Return what this machine says of itself."""
        try:
            with pinned(threads, cores) as held:
                machine = this_machine(held[0] if held else 0)
        except ValueError as error:
            raise NasError(str(error)) from error
        return Facts(**asdict(machine), cores=held, runtime_version=runtime_version(runtime))

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        """Yield a reading a visit."""

        def on_open(n_done: int, n_all: int) -> None:
            on_step("opening", n_done, n_all)

        try:
            yield from time_models(job, done=done, start_s=start_s, on_open=on_open)
        except (MissingPackageError, ValueError) as error:
            raise NasError(str(error)) from error

    def forget(self) -> None:
        """Do nothing: this process keeps no readings."""
