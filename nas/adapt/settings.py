"""The options of `nas.adapt`, typed and checked."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from nas.errors import NasError
from nas.latency.network_options import NetworkOptions
from nas.text import integer


@dataclass(kw_only=True)
class AdaptSettings(NetworkOptions):
    """The options of conf/adapt.yaml, typed."""

    proxy: dict[str, Any] = field(default_factory=dict)
    target_ms: float | None = None
    share: float = 0.01
    measure: bool = False
    data: dict[str, Any] | None = None
    checkpoint: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = 1
    seed: int = 0

    @property
    def target(self) -> float:
        """Return the latency to reach in ms, which `check` found to be given."""
        return float(self.target_ms or 0)

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            NasError: an option is missing or out of its bounds, or two exclude each other.
        """
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
        integer(self.seed, "seed", 0, 2**31 - 1)
