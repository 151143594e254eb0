"""What executes a network on a device; each runtime keeps one small contract."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.arch import Layer
from nas.errors import unknown
from nas.extras import require
from nas.latency.onnx_graph import onnx_model
from nas.network.build import build_layer
from nas.text import integer

DTYPES = ("fp32",)


class Session(Protocol):
    """A module made ready: its input is bound, every call runs it once."""

    def __call__(self) -> None:
        """Run once."""

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed."""


class Runtime(Protocol):
    """Make sessions that compute what torch computes."""

    @property
    def name(self) -> str:
        """Return the name that hardware files give it."""

    @property
    def version(self) -> str:
        """Return the version that the times hold for."""

    def prepare(self, module: nn.Module, images: Tensor) -> Session:
        """Return the session of a module in eval mode, with `images` as its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime:
    """ONNX Runtime on the CPU, one operator after the other, all graph optimisations on.

    One thread by default: the figure that papers give for phones, and the one that other work on
    the machine disturbs least.
    """

    threads: int = 1

    @property
    def name(self) -> str:
        """Return `onnxruntime`."""
        return "onnxruntime"

    @property
    def version(self) -> str:
        """Return the version of the installed package."""
        return str(require("onnxruntime", "latency").__version__)

    def prepare(self, module: nn.Module, images: Tensor) -> Session:
        """Return the session of a module; NasError where onnx or onnxruntime is missing."""
        ort = require("onnxruntime", "latency")
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = onnx_model(module, images)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return _OnnxSession(session, ort.OrtValue.ortvalue_from_numpy(images.numpy()))


class _OnnxSession:
    """A session whose input and output lie bound in its own memory: a run copies nothing."""

    def __init__(self, session: Any, images: Any) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, images)
        self._binding.bind_output(session.get_outputs()[0].name)
        # The first run finds the output's shape; binding that memory spares allocating it anew.
        self()
        self._result = self._binding.get_outputs()[0]
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._result)

    def __call__(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def output(self) -> NDArray[np.float32]:
        return np.asarray(self._result.numpy(), dtype=np.float32)


_RUNTIMES = {"onnxruntime": OnnxRuntime}


def load_runtime(name: str, *, threads: int, dtype: str) -> Runtime:
    """Return the runtime that a hardware file names.

    Raises:
        NasError: the name, the number of threads or the dtype is not one that exists.
    """
    if name not in _RUNTIMES:
        raise unknown("runtime", name, _RUNTIMES)
    if dtype not in DTYPES:
        raise unknown(f"dtype of runtime {name}:", dtype, DTYPES)
    return _RUNTIMES[name](threads=integer(threads, "threads", 1, 1024))


def prepare_layer(runtime: Runtime, layer: Layer) -> Session:
    """Return the session of one layer with fresh weights, its input one image of noise."""
    images = torch.randn(1, layer.in_channels, layer.size, layer.size)
    return runtime.prepare(build_layer(layer).eval(), images)
