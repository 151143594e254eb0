"""Model files made ready to be timed: one small contract over all runtimes."""

import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Session(Protocol):
    """A model in memory; its input is bound, so that a call does little but run it."""

    def feed(self, images: NDArray[np.float32]) -> None:
        """Store NCHW images as the input, in the model's own layout and numbers.

        Raises:
            ValueError: the model takes another shape.
        """

    def __call__(self) -> None:
        """Run once."""

    def output(self) -> NDArray[np.float32]:
        """Return what the last run computed: NCHW, or (N, classes) of a head."""


class MissingPackageError(ImportError):
    """Report that the package of a runtime cannot be imported; `name` is what pip calls it."""


def open_session(
    runtime: str,
    model: bytes | Path,
    *,
    threads: int = 1,
    options: Mapping[str, str] | None = None,
) -> Session:
    """Return the session of a model file, fed with noise.

    Args:
        runtime: `onnxruntime`, `litert`, `executorch`, `torch` or `torchscript`.
        model: the file's path or content.
        threads: one by default: the figure that papers give for phones, and the one that other
            work on the machine disturbs least.
        options: what the runtime that made the file says of it (its `options`).

    Raises:
        MissingPackageError: the runtime's package cannot be imported.
        ValueError: the runtime or an option is unknown.
    """
    module = require_package(runtime)
    sessions: Any = importlib.import_module(f"nas.latency.runner.{module}")
    session: Session = sessions.open_model(model, threads, dict(options or {}))
    return session


def require_package(runtime: str) -> str:
    """Import the package of a runtime; return the name of the module here that opens its files.

    Raises:
        MissingPackageError: it cannot be imported.
        ValueError: the runtime is unknown.
    """
    if runtime not in _MODULES:
        raise ValueError(f"unknown runtime {runtime!r}. Known: {', '.join(sorted(_MODULES))}.")
    package, distribution, module = _MODULES[runtime]
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"runtime {runtime} needs the package {package}, which cannot be imported ({error}). "
            f"Install it: pip install {distribution}",
            name=distribution,
        ) from error
    return module


def runtime_version(runtime: str) -> str:
    """Return the installed version of a runtime, or `unknown`."""
    try:
        return importlib.metadata.version(_MODULES[runtime][1])
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


_MODULES = {
    "onnxruntime": ("onnxruntime", "onnxruntime", "onnx_session"),
    "litert": ("ai_edge_litert", "ai-edge-litert", "litert_session"),
    "executorch": ("executorch", "executorch", "executorch_session"),
    "torch": ("torch", "torch", "torch_session"),
    "torchscript": ("torch", "torch", "torchscript_session"),
}
"""The package, what pip calls it, and the module of this folder that opens its files."""
