"""A thread that has one of several devices time one piece after the other."""

from collections.abc import Collection, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Event, Thread

from nas.errors import NasError
from nas.latency.devices.contract import Device
from nas.latency.devices.pieces import Visit
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the device of that number told: a reading, a step, or why it cannot go on.

    None of them: its piece has ended.
    """

    number: int
    reading: Reading | None = None
    step: tuple[str, int, int] | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    job: Job
    done: Collection[Visit]
    start_s: float
    n_visits: int


class Worker:
    """One device and its thread; all that it tells goes into one box, shared with others."""

    def __init__(self, number: int, name: str, device: Device, inbox: "SimpleQueue[Told]") -> None:
        self.name = name
        self._number, self._device, self._inbox = number, device, inbox
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._is_stopped, self._is_complete = Event(), False
        # One that hangs in a dead connection must not keep the program from ending.
        self._thread = Thread(target=self._work, name=f"device {name}", daemon=True)
        self._thread.start()

    def give(self, job: Job, *, done: Collection[Visit], start_s: float, n_visits: int) -> None:
        """Have the device time the job, but for the visits `done`: `n_visits` of them."""
        self._orders.put(_Order(job=job, done=done, start_s=start_s, n_visits=n_visits))

    def stop(self, *, is_complete: bool) -> None:
        """Begin to end: what runs on the device is stopped.

        When all is complete, what the device measured too much is forgotten; or else it is kept
        for the command that goes on.
        """
        self._is_complete = is_complete
        self._is_stopped.set()
        self._orders.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(max(0.0, timeout_s))

    def _work(self) -> None:
        for order in iter(self._orders.get, None):
            try:
                self._time(order)
                if not self._is_stopped.is_set():
                    self._tell()
            except KeyboardInterrupt:
                self._forget()
            except Exception as error:
                self._tell(error=error)

    def _time(self, order: _Order) -> None:
        readings = self._device.time(
            order.job, done=order.done, start_s=order.start_s, on_step=self._on_step
        )
        n_left = order.n_visits
        try:
            for reading in readings:
                self._tell(reading=replace(reading, device=self.name))
                n_left -= reading.name != ANCHOR
                if n_left and self._is_stopped.is_set():
                    raise KeyboardInterrupt
        finally:
            if isinstance(readings, Generator):
                readings.close()

    def _forget(self) -> None:
        if self._is_complete:
            with suppress(NasError):  # it may be lost; its next job stops what it does
                self._device.forget()

    def _on_step(self, what: str, n_done: int, n_all: int) -> None:
        if self._is_stopped.is_set():
            # What a device does when Ctrl-C ends it, it does now.
            raise KeyboardInterrupt
        self._tell(step=(f"{what} {self.name}", n_done, n_all))

    def _tell(
        self,
        reading: Reading | None = None,
        step: tuple[str, int, int] | None = None,
        error: Exception | None = None,
    ) -> None:
        self._inbox.put(Told(number=self._number, reading=reading, step=step, error=error))
