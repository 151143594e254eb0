"""Sessions of PyTorch."""

import importlib
import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.runner.ports import Port

MODES = ("eager", "channels_last", "compiled")


class TorchSession:
    """A module and its images; compiled ones work on `channels_last` memory too."""

    def __init__(self, torch: Any, program: Any, mode: str) -> None:
        self._torch = torch
        self._is_channels_last = mode != "eager"
        shape = program.example_inputs[0][0].shape
        self._input = Port(shape=tuple(map(int, shape)))
        module = _bare(torch, program.module(check_guards=False))
        if self._is_channels_last:
            module = module.to(memory_format=torch.channels_last)
        self._module = torch.compile(module) if mode == "compiled" else module
        self.feed(self._input.noise())
        self()

    def feed(self, images: NDArray[np.float32]) -> None:
        """Store the images."""
        self._images = self._torch.from_numpy(self._input.stored(images))
        if self._is_channels_last:
            self._images = self._images.to(memory_format=self._torch.channels_last)

    def __call__(self) -> None:
        """Run once."""
        with self._torch.inference_mode():
            (self._result,) = self._module(self._images)

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed."""
        return np.array(self._result.numpy(), dtype=np.float32)


def open_model(model: bytes | Path, threads: int, options: Mapping[str, str]) -> TorchSession:
    """Return the session of a .pt2 file; `threads` then holds for the whole process.

    Raises:
        ValueError: there is no such mode, or the file holds pickled objects.
    """
    mode = options.get("mode", MODES[0])
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} of runtime torch. Known: {', '.join(MODES)}.")
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    content = model if isinstance(model, bytes) else model.read_bytes()
    _refuse_pickles(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own parts
        program = torch.export.load(io.BytesIO(content))
        return TorchSession(torch, program, mode)


def _bare(torch: Any, module: Any) -> Any:
    """Return the operators alone: checks of every input would cost more than a small layer."""
    module._forward_pre_hooks.clear()
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    module.recompile()
    return module


def _refuse_pickles(content: bytes) -> None:
    """Refuse weights that torch would unpickle, which runs what code they name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if name.endswith("_config.json"):
                entries = json.loads(archive.read(name))["config"].values()
                if any(entry["use_pickle"] for entry in entries):
                    raise ValueError(f"{name} of a .pt2 file must be raw tensors, not pickles.")
