"""Where the time of an epoch goes: to the batches, or to the network."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Sums the seconds that a device waits in marked stretches of the loop.

    On a GPU, which runs behind the loop, events on its stream are timed: what it takes to make a
    batch there, and what it stands idle until the loop hands one over.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of what is inside."""
        if self.device.type != "cuda":
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started
            return
        first, last = _event(), _event()
        first.record()
        yield
        last.record()
        self._events.append((first, last))

    def read(self) -> float:
        """Return the seconds since the last reading."""
        if self._events:
            torch.cuda.synchronize(self.device)
            self._seconds += sum(first.elapsed_time(last) for first, last in self._events) / 1000
        seconds, self._seconds, self._events = self._seconds, 0.0, []
        return seconds


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
