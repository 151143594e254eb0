"""The options of `python -m nas.latency`, typed, and what they ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.ablation import chosen_arch
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
CHOICES = ("runtime", "dtype", "mode")


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
    ablate: Any = None
    layer: Any = None
    table: str | None = None
    runtime: str | None = None
    dtype: str | None = None
    mode: str | None = None
    calibrate: int = N_CALIBRATION
    check: int | None = None
    fresh: bool = False
    rounds: int = 14
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
        chosen, usual = self.chosen_hardware, self.hardware
        words = [getattr(chosen, key) for key in CHOICES]
        own = [
            word for word, key in zip(words, CHOICES, strict=True) if word != getattr(usual, key)
        ]
        return "_".join([usual.table, *filter(None, own)])

    @property
    def chosen_hardware(self) -> HardwareSettings:
        """Return the hardware with the runtime, dtype and mode that the command line chose.

        Raises:
            NasError: the hardware is modelled, and what its model stands for cannot be chosen.
        """
        hardware = self.hardware
        for key in (*CHOICES, "check"):
            if self.is_modelled and getattr(self, key) is not None:
                raise NasError(
                    f"{key}={getattr(self, key)} belongs to hardware that is measured, but "
                    f"{hardware.name} is modelled. Leave it out, or take +hardware=host_cpu."
                )
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
        """Return the spaces to measure; the default ones where nothing else is asked for.

        Raises:
            NasError: a space is unknown or broken.
        """
        if self.space is not None:
            found = _texts(self.space, "space", "space=[tiny,mnasnet]")
        elif self.arch is not None or self.layer is not None:
            found = []
        else:
            found = names("search_spaces", ".yaml") if self.is_modelled else [*SPACES]
        return [SearchSpace.load(name) for name in found]

    @property
    def baselines(self) -> list[Arch]:
        """Return the hand-designed networks to measure: all, or none where others are named."""
        if self.arch is not None or self.layer is not None:
            return []
        return [*scaled_baselines()] if self.is_modelled else baselines()

    def layers(self) -> list[Layer]:
        """Return the layers of the spaces and networks, and those named one by one.

        Raises:
            NasError: a layer, arch or space is unknown or broken, or width scales nothing.
        """
        archs = self.baselines
        if self.arch is not None:
            archs = [chosen_arch(self.arch, self.width, self.resolution, self.ablate)]
        elif self.width != 1 or self.resolution is not None or self.ablate is not None:
            raise NasError(
                "width, resolution and ablate change the network of arch=, but there is none."
            )
        found = [layer for space in self.spaces for layer in space.layers()]
        found += [layer for arch in archs for layer in arch.layers]
        if self.layer is not None:
            like = "layer='mb k5 24>72>40 s2 se24 re @56'"
            found += map(Layer.parse, _texts(self.layer, "layer", f'"{like}"'))
        return list(dict.fromkeys(found))

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
            self.baselines,
            n_calibration=self.calibrate if missing else 0,
            n_check=n_check,
            seed=self.seed,
        )


def _texts(value: Any, what: str, like: str) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return found
    raise NasError(
        f"{what} must be a text or a list of texts, but is {shown(value)}. Write {like}."
    )
