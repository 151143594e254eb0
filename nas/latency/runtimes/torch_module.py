"""PyTorch itself: files of `torch.export`, run eagerly or compiled where they are timed."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.latency.runtimes.contract import package_versions
from nas.latency.runtimes.variants import VARIANTS


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchModule:
    """PyTorch on the CPU: `eager`, eager in the memory layout `channels_last`, or `compiled`."""

    dtype: str = "fp32"
    mode: str | None = "eager"
    name: str = "torch"
    suffix: str = ".pt2"
    is_slow: bool = True

    @property
    def options(self) -> dict[str, str]:
        """Return the mode."""
        return {"mode": self.mode or VARIANTS["torch"]["fp32"][0]}

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
        """Return the .pt2 file of a module: its graph and raw weights, no code of Python."""
        file, files = io.BytesIO(), dict(facts or {})
        # torch warns of its own parts
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            torch.export.save(torch.export.export(module, (images,)), file, extra_files=files)
        return file.getvalue()
