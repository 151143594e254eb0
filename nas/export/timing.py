"""How long an exported file takes here, and what a table said that it would."""

from collections.abc import Mapping
from dataclasses import dataclass

from nas.arch import Arch
from nas.export.result import UNKNOWN
from nas.latency.assembly import companions, today
from nas.latency.measure import Setting
from nas.latency.models import model_files
from nas.latency.readings import measurements
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Plan
from nas.latency.session import ANCHOR_LAYER
from nas.latency.subjects import Subject
from nas.latency.table import LatencyTable
from nas.steps import OnStep

NAME = "the network"
"""In a job, where the names of layers are their lines."""


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
    """Time a file, and with it layers of a table of that device, which tell today's pace.

    Raises:
        NasError: the device was lost or cannot run it, or the table has no row for some layer.
    """
    facts, runtime = setting.facts(), setting.runtime
    differences = {} if table is None else _differences(table, setting.conditions(facts))
    known = None if differences else table
    layers = [ANCHOR_LAYER, *companions(known)]
    files = model_files(map(Subject.of_layers, layers), runtime, on_step)
    job = Job(
        runtime=runtime.name,
        options=runtime.options,
        threads=setting.threads,
        cores=setting.cores,
        plan=Plan(n_rounds=n_rounds, anchor_every=10),
        models={NAME: content} | {str(layer): files[str(layer)] for layer in layers[1:]},
        anchor=files[str(ANCHOR_LAYER)],
    )
    readings = []
    for reading in setting.device.time(job, done=(), start_s=0.0, on_step=on_step):
        readings.append(reading)
        if reading.name != ANCHOR:
            on_step("timing", reading.round + 1, n_rounds)
    found = measurements(readings)
    return Latency(
        ms=found[NAME].ms,
        std_ms=found[NAME].std_ms,
        device=setting.hardware,
        cpu=facts.cpu,
        threads=setting.threads,
        prediction=None
        if table is None
        else Prediction(
            table=table.name,
            ms=table.predict_ms(arch),
            differences=differences,
            ms_then=None if known is None else today(known, found)[NAME].ms,
        ),
    )


def _differences(table: LatencyTable, here: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the conditions but for the device's name, which several tables may give a machine."""
    pairs = {key: (table.header.get(key, UNKNOWN), here[key]) for key in here if key != "device"}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
