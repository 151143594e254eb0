"""Sessions of LiteRT, with the XNNPACK delegate that it applies by default."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.runner.ports import Port


class LiteRTSession:
    """A session whose input stays in the interpreter's memory from run to run."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        self._inputs, self._outputs = (
            interpreter.get_input_details(),
            interpreter.get_output_details(),
        )
        self._input, self._output = _port(self._inputs[0]), _port(self._outputs[0])
        self.feed(self._input.noise())
        self()

    def feed(self, images: NDArray[np.float32]) -> None:
        """Copy the images to the interpreter."""
        self._interpreter.set_tensor(self._inputs[0]["index"], self._input.stored(images))

    def __call__(self) -> None:
        """Run once."""
        self._interpreter.invoke()

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed."""
        return self._output.read(self._interpreter.get_tensor(self._outputs[0]["index"]))


def open_model(model: bytes | Path, threads: int, options: Mapping[str, str]) -> LiteRTSession:
    """Return the session of a .tflite file whose images and results are NHWC."""
    litert: Any = importlib.import_module("ai_edge_litert.interpreter")
    content = model if isinstance(model, bytes) else model.read_bytes()
    return LiteRTSession(litert.Interpreter(model_content=content, num_threads=threads))


def _port(detail: Mapping[str, Any]) -> Port:
    scale, zero_point = detail["quantization"]
    return Port(
        shape=tuple(map(int, detail["shape"])),
        dtype=np.dtype(detail["dtype"]).name,
        is_nhwc=True,
        scale=float(scale),
        zero_point=int(zero_point),
    )
