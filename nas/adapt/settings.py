"""The options of `nas.adapt`, typed and checked."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from nas.arch import Arch
from nas.errors import NasError
from nas.text import integer


@dataclass(kw_only=True)
class AdaptSettings:
    """The options of conf/adapt.yaml, typed."""

    proxy: dict[str, Any]
    arch: str | None = None
    width: float = 1.0
    resolution: int | None = None
    hardware: dict[str, Any] | None = None
    table: str | None = None
    target_ms: float | None = None
    share: float = 0.01
    measure: bool = False
    data: dict[str, Any] | None = None
    checkpoint: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = 1
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            NasError: an option is missing or out of its bounds, or two exclude each other.
        """
        if self.arch is None and self.checkpoint is None:
            raise NasError(
                "arch must name a network: arch=mobilenet_v3_large, or arch=<file> with one of "
                "yours. With checkpoint=<file> it is the network of that."
            )
        if self.target_ms is None or not isfinite(self.target_ms):
            raise NasError(
                f"target_ms must be the latency to reach in ms, but is {self.target_ms}. "
                "nas.latency.predict says what the network takes."
            )
        if not 0.0001 <= self.share <= 0.5:
            raise NasError(
                "share must be from 0.0001 to 0.5 of the first latency, what a step saves, but is "
                f"{self.share:g}."
            )
        if self.checkpoint is not None and self.data is None:
            raise NasError(
                "checkpoint= is trained on after each cut, but there is no data to do so. Add "
                "data=<name> (see conf/data)."
            )
        if self.checkpoint is not None and (self.width != 1 or self.resolution is not None):
            raise NasError("a checkpoint has its width and resolution. Leave out width= and so on.")
        integer(self.seed, "seed", 0, 2**31 - 1)

    def named_arch(self) -> Arch | None:
        """Return the network of `arch=`, None where none is named.

        Raises:
            NasError: the file is missing or broken.
        """
        if self.arch is None:
            return None
        return Arch.load(self.arch).scaled(self.width, self.resolution)
