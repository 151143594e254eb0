"""Sessions of TorchScript."""

import importlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.runner.ports import Port

# The first run is watched and the second compiled; see torch's `graph_executor_impl.cpp`.
N_FIRST_RUNS = 3


class TorchScriptSession:
    """A traced module and its images."""

    def __init__(self, torch: Any, module: Any, shape: tuple[int, ...]) -> None:
        self._torch, self._module = torch, module
        self._input = Port(shape=shape)
        self.feed(self._input.noise())
        for _ in range(N_FIRST_RUNS):
            self()

    def feed(self, images: NDArray[np.float32]) -> None:
        """Store the images."""
        self._images = self._torch.from_numpy(self._input.stored(images))

    def __call__(self) -> None:
        """Run once."""
        with self._torch.inference_mode():
            self._result = self._module(self._images)

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed."""
        return np.array(self._result.numpy(), dtype=np.float32)


def open_model(model: bytes | Path, threads: int, options: Mapping[str, str]) -> TorchScriptSession:
    """Return the session of a .pt file; `threads` then holds for the whole process."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    content = model if isinstance(model, bytes) else model.read_bytes()
    files = {"input_shape": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the format
        module = torch.jit.load(io.BytesIO(content), map_location="cpu", _extra_files=files)
    return TorchScriptSession(torch, module, tuple(map(int, files["input_shape"].split())))
