"""The options of `python -m nas.train`, typed."""

from dataclasses import dataclass, field
from typing import Any

from nas.errors import NasError
from nas.text import integer


@dataclass(kw_only=True)
class TrainSettings:
    """The options of conf/train.yaml, typed."""

    recipe: dict[str, Any]
    arch: str | None = None
    model: dict[str, Any] | None = None
    width: float = 1.0
    resolution: int | None = None
    ablate: Any = None
    data: dict[str, Any] | None = None
    start: str | None = None
    teacher: Any = None
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0
    hardware: dict[str, Any] | None = None
    table: str | None = None
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    accumulate: int = 1
    precision: str | None = None
    threads: int | None = None
    save_every: int | None = None
    tensorboard: bool = False
    workers: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse options that are out of bounds or exclude each other.

        Raises:
            NasError: it names the option.
        """
        integer(self.seed, "seed", 0, 2**31 - 1)
        integer(self.devices, "devices", 1, 1024)
        integer(self.accumulate, "accumulate", 1, 4096)
        for name in ("threads", "save_every"):
            if getattr(self, name) is not None:
                integer(getattr(self, name), name)
        if self.resolution is not None:
            integer(self.resolution, "resolution", 8, 1024)
        named = [name for name in ("arch", "model") if getattr(self, name) is not None]
        if len(named) == 2:
            raise NasError("arch and model both name a network. Leave one of them out.")
        if not named and self.start is None:
            raise NasError(
                "arch must name a network: arch=mobilenet_v3_small, or arch=<file> with a winner "
                "of yours; model= takes any torch module, start= a checkpoint."
            )
        if self.model is not None:
            given = {
                "width": self.width != 1,
                "ablate": self.ablate is not None,
                "start": self.start is not None,
            }
            for name, value in given.items():
                if value:
                    raise NasError(f"{name} is for networks of arch=, not of model=. Leave it out.")
