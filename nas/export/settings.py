"""The options of `nas.export`, typed and checked."""

from dataclasses import dataclass
from typing import Any

from nas.errors import NasError, unknown
from nas.latency.runtimes.variants import Variant
from nas.latency.settings import HardwareSettings
from nas.text import integer

FORMATS = {
    "onnx": "onnxruntime",
    "litert": "litert",
    "executorch": "executorch",
    "torchscript": "torchscript",
}
"""The runtime that runs each format."""
LIKE = "checkpoint=runs/train/<run>/best.safetensors"


@dataclass(kw_only=True)
class ExportSettings:
    """The options of conf/export.yaml; a checkpoint that is None stands for random weights."""

    checkpoint: str | None
    format: str
    arch: str | None = None
    width: float = 1.0
    resolution: int | None = None
    ablate: Any = None
    dtype: str = "fp32"
    mode: str | None = None
    data: dict[str, Any] | None = None
    calibration: int = 200
    check: int = 1000
    hardware: HardwareSettings | None = None
    table: str | None = None
    rounds: int = 40

    @property
    def variant(self) -> Variant:
        """Return the runtime, dtype and mode that were chosen.

        Raises:
            NasError: there is no such format, or it has no such dtype or mode.
        """
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)
        return Variant.of(FORMATS[self.format], self.dtype, self.mode)

    def validate(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            NasError: an option out of its bounds, one that is missing, or two that exclude each
                other.
        """
        _ = self.variant
        integer(self.calibration, "calibration", 1, 100_000)
        integer(self.check, "check", 1, 10**6)
        integer(self.rounds, "rounds", 2, 10_000)
        if self.checkpoint is None and self.arch is None:
            raise NasError(
                f"there must be a network, but neither checkpoint= nor arch= names one. Add {LIKE}."
            )
        if self.checkpoint is None and self.data is not None:
            raise NasError(
                "data= is for trained weights, but checkpoint=null has random ones. Add "
                f"{LIKE}, or leave data= out."
            )
        if self.checkpoint is not None and self.dtype == "int8" and self.data is None:
            raise NasError(
                "dtype=int8 takes its ranges from real images, but none are named. Add "
                "data=<name>, the data that the network was trained on."
            )
