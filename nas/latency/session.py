"""One session of timing: named subjects on one device, every visit kept as it ends."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from nas.arch import Layer
from nas.latency.devices.contract import Device
from nas.latency.models import model_files
from nas.latency.raw_times import appending, read_raw_times
from nas.latency.readings import Measurement, anchor_drift_percent, device_paces, measurements
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Plan, Reading, n_visits
from nas.latency.runtimes.contract import Runtime
from nas.latency.subjects import Subject
from nas.steps import OnStep

# A block of V3-Large's middle: neither call overhead nor the largest caches decide its time.
ANCHOR_LAYER = Layer.parse("mb k3 80>184>80 s1 hs @14")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where and how to time, and the file that keeps the readings.

    Rows whose two halves of rounds disagree are visited in half as many rounds again.
    """

    device: Device
    runtime: Runtime
    threads: int
    cores: tuple[int, ...]
    plan: Plan
    seed: int
    raw_path: Path
    conditions: Mapping[str, str]
    on_step: OnStep

    def time(self, subjects: Sequence[Subject]) -> "Timings":
        """Time each of the subjects, or what an interrupted session left of them.

        Raises:
            NasError: the raw times are broken or of other conditions, a model cannot be made, or
                the device was lost; what was measured is kept.
        """
        readings = read_raw_times(self.raw_path, self.conditions)
        with appending(self.raw_path, self.conditions) as append:
            for plan, chosen in self._passes(subjects, readings):
                # Closed at once, so that a device stops when this is left by an error.
                with closing(self._pass(chosen, plan, readings)) as fresh:
                    for reading in fresh:
                        append(reading)
                        readings.append(reading)
        return Timings(
            measurements=measurements(readings),
            seconds=_until_s(readings),
            anchor_drift_percent=anchor_drift_percent(readings),
            device_paces=device_paces(readings),
        )

    def _passes(
        self, subjects: Sequence[Subject], readings: Sequence[Reading]
    ) -> Iterator[tuple[Plan, Sequence[Subject]]]:
        yield self.plan, subjects
        first = measurements([one for one in readings if one.round in self.plan.rounds])
        unsettled = [one for one in subjects if one.is_layer and not first[one.name].is_settled]
        again = replace(
            self.plan, first_round=self.plan.rounds.stop, n_rounds=self.plan.n_rounds // 2
        )
        if again.n_rounds:
            yield again, unsettled

    def _pass(
        self, subjects: Sequence[Subject], plan: Plan, readings: Sequence[Reading]
    ) -> Generator[Reading, None, None]:
        done = {(reading.name, reading.round) for reading in readings}
        left = [one for one in subjects if n_visits([one.name], plan, done)]
        if not left:
            return
        anchor = Subject(name=ANCHOR, layers=(ANCHOR_LAYER,))
        files = model_files([*left, anchor], self.runtime, self.on_step)
        job = Job(
            runtime=self.runtime.name,
            options=self.runtime.options,
            threads=self.threads,
            cores=self.cores,
            plan=plan,
            seed=self.seed,
            models={name: file for name, file in files.items() if name != ANCHOR},
            anchor=files[ANCHOR],
        )
        what = "timing" if plan.first_round == 0 else "timing again"
        n_all, n_timed = n_visits([one.name for one in left], plan, done), 0
        begin_s = _until_s(readings)
        timed = self.device.time(job, done=done, start_s=begin_s, on_step=self.on_step)
        try:
            for reading in timed:
                yield reading
                n_timed += reading.name != ANCHOR
                self.on_step(what, n_timed, n_all)
        finally:
            if isinstance(timed, Generator):
                timed.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """What a session found: a measurement a name, how quiet the machine was, and the devices.

    `device_paces` has what each of several devices is slower than the one in the middle by.
    """

    measurements: Mapping[str, Measurement]
    seconds: float
    anchor_drift_percent: float
    device_paces: Mapping[str, float]


def _until_s(readings: Sequence[Reading]) -> float:
    return max((reading.at_s for reading in readings), default=0.0)
