"""LiteRT (TensorFlow Lite) with its XNNPACK delegate: files in milliseconds, by our own writer."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from nas.latency.runtimes.contract import package_versions
from nas.latency.runtimes.litert_graph import litert_model


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteRT:
    """LiteRT on the CPU."""

    dtype: str = "fp32"
    mode: str | None = None
    name: str = "litert"
    suffix: str = ".tflite"
    is_slow: bool = False

    @property
    def options(self) -> dict[str, str]:
        """Return nothing: the file says it all."""
        return {}

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decide the file or the times."""
        return package_versions("litert", "ai-edge-litert", "torch")

    def export(
        self,
        module: nn.Module,
        images: Tensor,
        *,
        calibration: Tensor | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the .tflite file of a module; facts are metadata buffers of their names."""
        return litert_model(module, images, self.dtype, calibration, facts or {})
