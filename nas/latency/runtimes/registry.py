"""The runtimes by the names that hardware files give them."""

from collections.abc import Callable
from typing import Any

from nas.errors import NasError, unknown
from nas.latency.runtimes.contract import Runtime
from nas.latency.runtimes.executorch import ExecuTorch
from nas.latency.runtimes.litert import LiteRT
from nas.latency.runtimes.onnx import OnnxRuntime
from nas.latency.runtimes.torch_module import MODES as TORCH_MODES
from nas.latency.runtimes.torch_module import TorchModule

_MAKERS: dict[str, Callable[..., Any]] = {
    "executorch": ExecuTorch,
    "litert": LiteRT,
    "onnxruntime": OnnxRuntime,
    "torch": TorchModule,
}
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "executorch": {"fp32": (), "int8": ()},
    "litert": {"fp32": (), "int8": ()},
    "onnxruntime": {"fp32": (), "int8": ("u8s8", "s8s8")},
    "torch": {"fp32": TORCH_MODES},
}
"""The dtypes of each runtime, and the modes of each dtype, the default one first."""


def load_runtime(name: str, dtype: str = "fp32", mode: str | None = None) -> Runtime:
    """Return the runtime that a hardware file names; its packages are imported at first use.

    Raises:
        NasError: there is no such runtime, dtype or mode.
    """
    if name not in VARIANTS:
        raise unknown("runtime", name, VARIANTS)
    if dtype not in VARIANTS[name]:
        raise unknown(f"dtype of runtime {name}:", dtype, VARIANTS[name])
    modes = VARIANTS[name][dtype]
    if mode is not None and not modes:
        raise NasError(f"runtime {name} has no modes in {dtype}, but got {mode!r}. Leave it out.")
    if mode is not None and mode not in modes:
        raise unknown(f"mode of runtime {name} {dtype}:", mode, modes)
    chosen = mode or (modes[0] if modes else None)
    runtime: Runtime = _MAKERS[name](dtype=dtype, mode=chosen)
    return runtime
