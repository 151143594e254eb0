"""Sessions of ONNX Runtime on the CPU, one operator after the other, all optimisations on."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.runner.ports import Port

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class OnnxSession:
    """A session whose input and output lie bound in its own memory: a run copies nothing."""

    def __init__(self, session: Any, ort: Any) -> None:
        self._session, self._ort = session, ort
        about = session.get_modelmeta().custom_metadata_map
        self._input = _port(session.get_inputs()[0], "input", about)
        self._output = _port(session.get_outputs()[0], "output", about)
        self._binding = session.io_binding()
        self.feed(self._input.noise())
        self._binding.bind_output(session.get_outputs()[0].name)
        # The first run finds the output's shape; binding that memory spares allocating it anew.
        self()
        self._result = self._binding.get_outputs()[0]
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._result)

    def feed(self, images: NDArray[np.float32]) -> None:
        """Bind the images."""
        self._images = self._ort.OrtValue.ortvalue_from_numpy(self._input.stored(images))
        self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, self._images)

    def __call__(self) -> None:
        """Run once."""
        self._session.run_with_iobinding(self._binding)

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed."""
        return self._output.read(self._result.numpy())


def open_model(model: bytes | Path, threads: int, options: Mapping[str, str]) -> OnnxSession:
    """Return the session of an ONNX file."""
    ort: Any = importlib.import_module("onnxruntime")
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    return OnnxSession(session, ort)


def _port(value: Any, name: str, about: Mapping[str, str]) -> Port:
    """Return a port; ONNX has no field for layout and scale of a border, so metadata holds them."""
    return Port(
        shape=tuple(value.shape),
        dtype=_DTYPES[value.type],
        is_nhwc=about.get(f"{name}_layout") == "NHWC",
        scale=float(about.get(f"{name}_scale", 1)),
        zero_point=int(about.get(f"{name}_zero_point", 0)),
    )
