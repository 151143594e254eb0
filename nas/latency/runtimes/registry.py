"""The runtimes by the names that hardware files give them."""

from collections.abc import Callable
from typing import Any

from nas.latency.runtimes.contract import Runtime
from nas.latency.runtimes.executorch import ExecuTorch
from nas.latency.runtimes.litert import LiteRT
from nas.latency.runtimes.onnx import OnnxRuntime
from nas.latency.runtimes.torch_module import TorchModule
from nas.latency.runtimes.torchscript import TorchScript
from nas.latency.runtimes.variants import Variant

_MAKERS: dict[str, Callable[..., Any]] = {
    "executorch": ExecuTorch,
    "litert": LiteRT,
    "onnxruntime": OnnxRuntime,
    "torch": TorchModule,
    "torchscript": TorchScript,
}


def load_runtime(name: str, dtype: str = "fp32", mode: str | None = None) -> Runtime:
    """Return the runtime that a hardware file names; its packages are imported at first use.

    Raises:
        NasError: there is no such runtime, dtype or mode.
    """
    variant = Variant.of(name, dtype, mode)
    runtime: Runtime = _MAKERS[name](dtype=variant.dtype, mode=variant.mode)
    return runtime
