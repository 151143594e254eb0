"""Several identical devices that time one job together, and seem one."""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from nas.errors import NasError, shown
from nas.latency.devices.contract import Device, Facts
from nas.latency.devices.crew import Crew, OnLost
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import Reading
from nas.steps import OnStep

ALIKE = ("cpu", "n_cores", "cores", "runtime_version")
"""The facts that must agree for times to be mixed."""


class DeviceGroup:
    """Devices of one kind by their names.

    `lost` has those that the others went on without, with the reason; `on_lost` hears of each as it
    happens.

    Args:
        devices: at least one.
        option: what names them on the command line.
    """

    def __init__(self, devices: Mapping[str, Device], option: str) -> None:
        self._devices, self._option = dict(devices), option
        self._was_timed = False
        self.lost: dict[str, NasError] = {}
        self.on_lost: OnLost = lambda name, error: None

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        """Return what the devices say of themselves, asked all at once.

        Raises:
            NasError: one cannot be reached or is not like the first one. Once they have been timed
                on, one that is lost is left out.
        """
        found, errors = dict[str, Facts](), dict[str, NasError]()
        devices = self._present
        with ThreadPoolExecutor(len(devices)) as pool:
            answers = {
                name: pool.submit(device.facts, runtime, threads, cores)
                for name, device in devices.items()
            }
            for name, answer in answers.items():
                try:
                    found[name] = answer.result()
                except NasError as error:
                    errors[name] = error
        if not self._was_timed:
            self._check_reached(errors)
            self._check_alike(found)
        elif not found:
            raise next(iter(errors.values()))
        for name in errors:
            self._lose(name, errors[name])
        return _merged([*found.values()])

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        """Yield a reading a visit, each naming its device, as any of them makes it.

        A device that is lost costs only itself: others make what it had before it.

        Raises:
            NasError: the last device was lost, or two cannot do the same work.
        """
        self._was_timed = True
        yield from Crew(
            self._present, job, done=done, start_s=start_s, on_step=on_step, on_lost=self._lose
        ).readings()

    def forget(self) -> None:
        """Have each device drop what it keeps of earlier readings."""
        for device in self._present.values():
            device.forget()

    @property
    def _present(self) -> dict[str, Device]:
        return {name: one for name, one in self._devices.items() if name not in self.lost}

    def _lose(self, name: str, error: NasError) -> None:
        self.lost[name] = error
        self.on_lost(name, error)

    def _check_reached(self, errors: Mapping[str, NasError]) -> None:
        if not errors:
            return
        reasons = " ".join(f"{name}: {error}" for name, error in errors.items())
        raise NasError(
            f"each of {len(self._devices)} devices must answer, but {len(errors)} cannot be used. "
            f"{reasons} {self._leave_out(errors)}"
        )

    def _check_alike(self, found: Mapping[str, Facts]) -> None:
        (first, model), *others = found.items()
        differing, reasons = [], []
        for name, facts in others:
            keys = [key for key in ALIKE if getattr(facts, key) != getattr(model, key)]
            if keys:
                pairs = (f"{key} {_value(facts, key)}, not {_value(model, key)}" for key in keys)
                differing.append(name)
                reasons.append(f"{name} has {'; '.join(pairs)}.")
        if differing:
            raise NasError(
                f"devices of one list must be alike, but some differ from {first}: "
                f"{' '.join(reasons)} {self._leave_out(differing)}"
            )

    def _leave_out(self, names: Collection[str]) -> str:
        rest = ",".join(name for name in self._devices if name not in names)
        return f'Or leave it out: "{self._option}=[{rest}]"' if rest else ""


def _value(facts: Facts, key: str) -> str:
    return shown(getattr(facts, key))


def _merged(found: Collection[Facts]) -> Facts:
    def all_values(key: str) -> str:
        return ", ".join(dict.fromkeys(getattr(facts, key) for facts in found))

    return replace(
        next(iter(found)),
        governor=all_values("governor"),
        clock_mhz=all_values("clock_mhz"),
        temperature_c=all_values("temperature_c"),
    )
