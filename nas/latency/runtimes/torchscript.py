"""TorchScript: a traced graph in a file that PyTorch and its C++ library run."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.latency.runtimes.contract import package_versions
from nas.latency.runtimes.folding import folded


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchScript:
    """TorchScript on the CPU, for programs that have it; torch itself has moved on to `.pt2`."""

    dtype: str = "fp32"
    mode: str | None = None
    name: str = "torchscript"
    suffix: str = ".pt"
    is_slow: bool = False

    @property
    def options(self) -> dict[str, str]:
        """Return nothing: the file says it all."""
        return {}

    @property
    def versions(self) -> dict[str, str]:
        """Return the version of torch."""
        return package_versions("torch", "torch")

    def export(
        self,
        module: nn.Module,
        images: Tensor,
        *,
        calibration: Tensor | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the .pt file of a module; facts are its extra files."""
        file = io.BytesIO()
        files = {**(facts or {}), "input_shape": " ".join(map(str, images.shape))}
        # torch deprecates the format
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            jit: Any = torch.jit
            traced = jit.trace(folded(module), images, check_trace=False)
            jit.save(jit.freeze(traced), file, _extra_files=files)
        return file.getvalue()
