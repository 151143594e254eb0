"""Read files of tensors that may be broken, or made to break their reader."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

MAX_BYTES = 16 * 2**30
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class UnreadableError(ValueError):
    """Report that a file is none of those that `nas.network.checkpoint.write_tensors` writes."""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the facts of a file.

    Raises:
        UnreadableError: it is missing, damaged, none of these, or larger than 16 GiB.
    """
    try:
        if not path.is_file():
            raise UnreadableError("No such file")
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableError(f"it must have at most {MAX_BYTES:,} bytes, but has more")
        with safe_open(path, framework="pt") as file:
            facts: dict[str, str] = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, RuntimeError) as error:
        raise UnreadableError(" ".join(str(error).split())[:200]) from error


def is_finite(tensor: Tensor) -> bool:
    """Tell whether a tensor holds integers, or floats that a network computes with, all finite."""
    if tensor.dtype in _FLOATS:
        return bool(tensor.isfinite().all())
    return not tensor.is_floating_point() and not tensor.is_complex()
