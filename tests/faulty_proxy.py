"""A proxy that goes wrong on some networks, in ways that their keys tell."""

import os
import signal
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch

FAULTS = {
    "raises": "ZeroDivisionError: by nothing (faulty_proxy.py, line",
    "nan": "a proxy must give a finite top-1 and deviation, but gave nan",
    "hangs": "it took longer than",
    "dies": "its worker was killed by SIGKILL",
    "eats": "MemoryError",
}
"""How it may go wrong, and what is then said of it."""
N_EATEN = 2**31


def fault_of(key: str, faults: Sequence[str], share: float) -> str:
    """Return how a network goes wrong; empty for one that is judged."""
    if int(key[:4], 16) / 2**16 >= share:
        return ""
    return faults[int(key[4:8], 16) % len(faults)]


def top1_of(key: str) -> float:
    """Return the top-1 of a network that is judged, in percent."""
    return 40 + 50 * int(key[8:16], 16) / 2**32


class FaultyProxy:
    """Judges a network in `seconds`, unless it is one of the share that goes wrong."""

    def __init__(self, faults: Sequence[str] = (), share: float = 0.0, seconds: float = 0.0):
        self.faults, self.share, self.seconds = faults, share, seconds

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return top-1 and 0, or go wrong."""
        time.sleep(self.seconds)
        return np.array([self._top1(arch.key()) for arch in archs]), np.zeros(len(archs))

    def evaluate(
        self, arch: Arch, on_epoch: Callable[[int, float], bool]
    ) -> tuple[float, float] | None:
        """Do the same in one epoch, as a proxy that trains."""
        top1 = float(self.predict([arch])[0][0])
        return None if on_epoch(1, top1) else (top1, 0.0)

    def _top1(self, key: str) -> float:
        fault = fault_of(key, self.faults, self.share)
        if fault == "raises":
            raise ZeroDivisionError("by nothing")
        if fault == "hangs":
            time.sleep(10_000)
        if fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "eats":
            return float(len(bytearray(N_EATEN)))
        return float("nan") if fault == "nan" else top1_of(key)
