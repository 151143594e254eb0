"""Sessions of ExecuTorch."""

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.runner.ports import Port


class ExecuTorchSession:
    """A method whose input is set once: a run neither copies it nor the output."""

    def __init__(self, program: Any, torch: Any) -> None:
        self._program, self._torch = program, torch
        # The method that Python holds wraps the one that can run without being fed anew.
        self._method = program.load_method("forward")._method
        about = self._method.method_meta()
        self._input = self._port(about.input_tensor_meta(0), "input")
        self._output = self._port(about.output_tensor_meta(0), "output")
        self.feed(self._input.noise())
        self()

    def feed(self, images: NDArray[np.float32]) -> None:
        """Set the images, which the method only refers to."""
        self._images = self._torch.from_numpy(self._input.stored(images))
        if self._input.is_nhwc:
            self._images = self._images.permute(0, 3, 1, 2)
        self._method.set_inputs([self._images])

    def __call__(self) -> None:
        """Run once."""
        self._method.execute()

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed."""
        values = self._method.get_outputs()[0]
        if self._output.is_nhwc:
            values = values.permute(0, 2, 3, 1)
        return self._output.read(values.numpy())

    def _port(self, about: Any, name: str) -> Port:
        constants = {
            key: self._program.load_method(f"{name}_{key}").execute([])[0]
            for key in ("is_nhwc", "scale", "zero_point")
            if f"{name}_{key}" in self._program.method_names
        }
        shape = tuple(about.sizes())
        if constants.get("is_nhwc"):
            shape = (shape[0], *shape[2:], shape[1])
        return Port(shape=shape, dtype="int8" if "scale" in constants else "float32", **constants)


def open_model(model: bytes | Path, threads: int, options: Mapping[str, str]) -> ExecuTorchSession:
    """Return the session of a .pte file; `threads` then holds for the whole process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The whole interface is marked as experimental.
        library: Any = importlib.import_module("executorch.extension.pybindings.portable_lib")
        if library._threadpool_get_thread_count() != threads:
            library._unsafe_reset_threadpool(threads)
        runtime: Any = importlib.import_module("executorch.runtime")
        content = model if isinstance(model, bytes) else model.read_bytes()
        program = runtime.Runtime.get().load_program(content)
        return ExecuTorchSession(program, importlib.import_module("torch"))
