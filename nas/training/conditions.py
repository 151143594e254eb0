"""What holds while a network trains; all but `keep_freed_memory` is put back afterwards."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.errors import NetworkError

NORM_MOMENTUM = 0.1
"""Of batch-norm's running statistics: the blocks' 0.01 wants more steps than there are."""


class TrainingError(NetworkError):
    """Report that a network could not be trained, and why; another one may well be."""


class DivergedError(TrainingError):
    """Report a loss that is no number any more; the same training would end there again."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**30


@cache
def keep_freed_memory() -> None:
    """Let the process keep up to a GiB of memory that tensors gave back, for those to come.

    Otherwise glibc returns each large tensor to the system, and the next one waits for new pages:
    without this, training takes up to half as long again on a virtual machine. It does nothing
    where there is no glibc.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


@contextmanager
def training_threads(threads: int | None) -> Iterator[None]:
    """Let torch compute on so many threads; None: on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Start torch's own random numbers from a seed; elsewhere they go on as if none were drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def quick_norms(network: nn.Module, momentum: float = NORM_MOMENTUM) -> Iterator[None]:
    """Let the running statistics of batch-norm follow the last few dozen batches."""
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, value in zip(norms, before, strict=True):
            norm.momentum = value


@contextmanager
def memory_errors() -> Iterator[None]:
    """Report that memory ran out as a `TrainingError`: a smaller network may fit.

    Raises:
        TrainingError: in place of torch's or Python's own error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # The allocator of the CPU raises a plain RuntimeError.
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise TrainingError(
            f"memory ran out ({str(error).partition(chr(10))[0][:150] or 'MemoryError'}). Lower "
            "recipe.batch_size or recipe.resolution."
        ) from error
