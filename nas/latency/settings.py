"""The options of `python -m nas.latency`, typed, and what they ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.arch import Arch, Layer
from nas.baselines import baselines, scaled_baselines
from nas.errors import NasError, shown
from nas.latency.runner.timing import Plan
from nas.latency.subjects import Probes, choose_probes
from nas.paths import names
from nas.space import SearchSpace
from nas.text import integer

SPACES = ("mobilenet_v3_large", "mobilenet_v3_small")
N_CALIBRATION = 60
N_CHECK = 60


@dataclass(kw_only=True)
class HardwareSettings:
    """A file of conf/hardware."""

    name: str
    description: str
    table: str
    device: str
    runtime: str
    threads: int
    dtype: str
    mode: str | None = None
    cores: list[int] = field(default_factory=list)
    connection: dict[str, Any] = field(default_factory=dict)
    cost_model: str | None = None


@dataclass(kw_only=True)
class LatencySettings:
    """The options of conf/latency.yaml."""

    hardware: HardwareSettings
    space: Any = None
    arch: str | None = None
    width: float = 1.0
    resolution: int | None = None
    table: str | None = None
    runtime: str | None = None
    dtype: str | None = None
    mode: str | None = None
    calibrate: int = N_CALIBRATION
    check: int | None = None
    fresh: bool = False
    rounds: int = 16
    warmups: int = 1
    runs: int = 3
    seed: int = 0

    @property
    def is_modelled(self) -> bool:
        """Tell whether a cost model stands for the hardware."""
        return self.hardware.device == "modelled"

    @property
    def path(self) -> Path:
        """Return the file to write.

        Raises:
            NasError: `table` names no .csv file.
        """
        path = Path(self.table or f"latency_tables/{self._table_name}.csv")
        if path.suffix != ".csv":
            raise NasError(f"table must be the path of a .csv file, but is {path}.")
        return path

    @property
    def _table_name(self) -> str:
        given = (self.runtime, self.dtype, self.mode)
        return "_".join([self.hardware.table, *(word for word in given if word)])

    @property
    def chosen_hardware(self) -> HardwareSettings:
        """Return the hardware with the runtime, dtype and mode that the command line chose."""
        hardware = self.hardware
        if self.runtime is not None and self.runtime != hardware.runtime:
            hardware = replace(hardware, runtime=self.runtime, mode=None)
        given: Mapping[str, Any] = {"dtype": self.dtype, "mode": self.mode}
        return replace(hardware, **{key: value for key, value in given.items() if value})

    @property
    def plan(self) -> Plan:
        """Return how often to time.

        Raises:
            NasError: a number is out of range.
        """
        return Plan(
            n_rounds=integer(self.rounds, "rounds", 2, 10_000),
            n_warmups=integer(self.warmups, "warmups", 0, 10_000),
            n_runs=integer(self.runs, "runs", 1, 10_000),
        )

    @property
    def spaces(self) -> list[SearchSpace]:
        """Return the spaces to measure; the default ones where neither space nor arch is given.

        Raises:
            NasError: a space is unknown or broken.
        """
        found = [self.space] if isinstance(self.space, str) else self.space
        if found is None:
            everything = names("search_spaces", ".yaml") if self.is_modelled else [*SPACES]
            found = everything if self.arch is None else []
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise NasError(
                f"space must be a name or a list of names, but is {shown(self.space)}. "
                "Write space=[tiny,mnasnet]."
            )
        return [SearchSpace.load(name) for name in found]

    def layers(self) -> list[Layer]:
        """Return the layers of the spaces and of the network of `arch`, or of all baselines.

        Raises:
            NasError: an arch or space is unknown or broken, or width scales nothing.
        """
        if self.arch is not None:
            archs = [Arch.load(self.arch).scaled(self.width, self.resolution)]
        elif self.width != 1 or self.resolution is not None:
            raise NasError("width and resolution scale the network of arch=, but there is none.")
        else:
            archs = [*scaled_baselines()] if self.is_modelled else baselines()
        found = [layer for space in self.spaces for layer in space.layers()]
        return list(dict.fromkeys([*found, *(layer for arch in archs for layer in arch.layers)]))

    def probes(self, missing: Sequence[Layer]) -> Probes:
        """Return the chains and networks to time, given the layers that the table lacks.

        A table that lacks nothing is checked again only where the command line asks for it.

        Raises:
            NasError: a number is out of range.
        """
        n_check = N_CHECK if self.check is None else self.check
        integer(n_check, "check", 0, 10_000)
        integer(self.calibrate, "calibrate", 0, 10_000)
        spaces = self.spaces
        if not spaces or not (missing or self.check):
            return Probes()
        return choose_probes(
            spaces,
            baselines() if self.arch is None else (),
            n_calibration=self.calibrate if missing else 0,
            n_check=n_check,
            seed=self.seed,
        )
