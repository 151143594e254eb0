"""How long an exported file takes here, and what a table said that it would."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, stdev

from nas.arch import Arch
from nas.export.result import UNKNOWN
from nas.latency.companions import Companion, network_companions, pace
from nas.latency.measure import Setting
from nas.latency.models import model_files
from nas.latency.readings import measurements
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import Plan
from nas.latency.session import ANCHOR_LAYER
from nas.latency.subjects import Subject
from nas.latency.table import LatencyTable
from nas.steps import OnStep

NAME = "the network"
"""In a job, where the names of layers are their lines."""
N_OPENINGS = 5
"""Times that the file is opened anew: one opening repeats better than two agree."""
N_WARMUPS = 4
"""Runs before those that count: what runs in between pushes the weights out of the caches."""
VISIT_MS = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a table says of a network, and where the table's conditions are others than here.

    `differences` maps a condition to its values in the table and here; without any, the time that
    was measured is brought to the pace that the machine had when the table was made, `ms_then`.
    """

    table: str
    ms: float
    differences: Mapping[str, tuple[str, str]]
    ms_then: float | None = None

    @property
    def error_percent(self) -> float | None:
        """Return how far the prediction lies above what was measured, where it was made for it."""
        return None if self.ms_then is None else 100 * (self.ms / self.ms_then - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The ms of a file for one image, at the device's quick pace; see `nas.latency.readings`."""

    ms: float
    std_ms: float
    device: str
    cpu: str
    threads: int
    prediction: Prediction | None


def time_file(
    content: bytes,
    arch: Arch,
    setting: Setting,
    table: LatencyTable | None,
    *,
    n_rounds: int,
    on_step: OnStep,
) -> Latency:
    """Time a file, and with it what a table of that device was made of, which tells today's pace.

    Raises:
        NasError: the device was lost or cannot run it, or the table has no row for some layer.
    """
    facts = setting.facts()
    differences = {} if table is None else _differences(table, setting.conditions(facts))
    known = None if differences else table
    beside = network_companions(arch, known)
    n_openings = max(1, min(N_OPENINGS, n_rounds // 2))
    job = _job(content, beside, setting, n_rounds // n_openings, on_step)
    openings = []
    for number in range(n_openings):
        on_step("timing", number, n_openings)
        readings = setting.device.time(job, done=(), start_s=0.0, on_step=on_step)
        openings.append(measurements([*readings]))
    on_step("timing", n_openings, n_openings)
    every_ms = [found[NAME].ms for found in openings]
    return Latency(
        ms=median(every_ms),
        std_ms=_std_of_median(every_ms) if n_openings > 1 else openings[0][NAME].std_ms,
        device=setting.hardware,
        cpu=facts.cpu,
        threads=setting.threads,
        prediction=None
        if table is None
        else Prediction(
            table=table.name,
            ms=table.predict_ms(arch),
            differences=differences,
            ms_then=None
            if known is None
            else median(found[NAME].ms / pace(beside, found) for found in openings),
        ),
    )


def _job(
    content: bytes, beside: Sequence[Companion], setting: Setting, n_rounds: int, on_step: OnStep
) -> Job:
    """Return what one opening times: the file, and what is timed beside it."""
    runtime, anchor = setting.runtime, Subject.of_layers(ANCHOR_LAYER)
    names = [one.subject.name for one in beside]
    files = model_files([anchor, *(one.subject for one in beside)], runtime, on_step)
    return Job(
        runtime=runtime.name,
        options=runtime.options,
        threads=setting.threads,
        cores=setting.cores,
        plan=Plan(n_rounds=n_rounds, n_warmups=N_WARMUPS, anchor_every=10, visit_ms=VISIT_MS),
        models={NAME: content} | {name: files[name] for name in names},
        anchor=files[anchor.name],
    )


def _std_of_median(values: Sequence[float]) -> float:
    """Return about 1.25 times the standard deviation of their mean."""
    return 1.25 * stdev(values) / math.sqrt(len(values))


def _differences(table: LatencyTable, here: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the conditions but for the device's name, which several tables may give a machine."""
    pairs = {key: (table.header.get(key, UNKNOWN), here[key]) for key in here if key != "device"}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
