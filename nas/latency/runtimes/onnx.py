"""ONNX Runtime: files in milliseconds, by writers of this project."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from nas.extras import require
from nas.latency.runtimes.contract import package_versions
from nas.latency.runtimes.folding import folded
from nas.latency.runtimes.onnx_graph import onnx_model
from nas.latency.runtimes.onnx_int8 import onnx_int8_model


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime:
    """ONNX Runtime on the CPU."""

    dtype: str = "fp32"
    mode: str | None = None
    name: str = "onnxruntime"
    suffix: str = ".onnx"
    is_slow: bool = False

    @property
    def options(self) -> dict[str, str]:
        """Return nothing: the file says it all."""
        return {}

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decide the file or the times."""
        return package_versions("latency", "onnxruntime", "onnx", "torch")

    def export(
        self,
        module: nn.Module,
        images: Tensor,
        *,
        calibration: Tensor | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the ONNX file of a module; facts are its metadata properties."""
        require("onnxruntime", "latency")
        if self.dtype == "int8":
            return onnx_int8_model(module, images, self.mode or "u8s8", calibration, facts)
        return onnx_model(folded(module), images, facts)
