"""Identical devices at work on one job: each takes a piece when it is free."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from time import monotonic

from nas.errors import NasError
from nas.latency.devices.contract import Device, LostDeviceError
from nas.latency.devices.pieces import Pieces, Visit, others_of
from nas.latency.devices.worker import Told, Worker
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Reading
from nas.steps import OnStep

OnLost = Callable[[str, NasError], None]
# Ending what runs on a board takes two connections; one that is lost is not waited for.
STOP_S = 15.0


class Crew:
    """Devices by their names, each with a thread of its own; what they tell is heard in one.

    `on_lost` hears of a device that does not go on, and why.
    """

    def __init__(
        self,
        devices: Mapping[str, Device],
        job: Job,
        *,
        done: Collection[Visit],
        start_s: float,
        on_step: OnStep,
        on_lost: OnLost,
    ) -> None:
        wanted = ((name, number) for name in job.models for number in job.plan.rounds)
        self._pieces = Pieces((visit for visit in wanted if visit not in done), len(devices))
        self._job, self._done, self._start_s = job, set(done), start_s
        self._on_step, self._on_lost = on_step, on_lost
        self._inbox: SimpleQueue[Told] = SimpleQueue()
        self._begin_s = monotonic()
        self._workers = dict(enumerate(self._hired(devices)))
        self._refused: set[Visit] = set()

    def readings(self) -> Iterator[Reading]:
        """Yield the readings of all devices as they come, each naming its device.

        Raises:
            NasError: the last device was lost, or two cannot do the same piece.
        """
        is_complete = False
        try:
            for number in list(self._workers):
                self._employ(number)
            while self._pieces.left:
                yield from self._heard(self._inbox.get())
            is_complete = True
        except KeyboardInterrupt:
            self._stop(is_complete)
            yield from self._unread()
            raise
        finally:
            self._stop(is_complete)

    def _hired(self, devices: Mapping[str, Device]) -> list[Worker]:
        pairs = enumerate(devices.items())
        return [Worker(number, name, device, self._inbox) for number, (name, device) in pairs]

    def _employ(self, number: int) -> None:
        piece = self._pieces.take(number)
        if not piece:
            return  # all is made
        names = {name for name, _ in piece}
        models = {name: model for name, model in self._job.models.items() if name in names}
        anchors = {visit for visit in self._done if visit[0] == ANCHOR}
        self._workers[number].give(
            replace(self._job, models=models),
            done=others_of(piece, self._job.plan.rounds) | anchors,
            start_s=self._start_s + monotonic() - self._begin_s,
            n_visits=len(piece),
        )

    def _heard(self, told: Told) -> Iterator[Reading]:
        if told.reading is not None:
            yield from self._wanted(told.reading)
        elif told.step is not None:
            self._on_step(*told.step)
        elif told.error is not None:
            self._lose(told.number, told.error)
        elif self._pieces.unmade(told.number):
            name = self._workers[told.number].name
            self._lose(told.number, NasError(f"{name} must make every visit, but left some out."))
        else:
            self._employ(told.number)

    def _wanted(self, reading: Reading) -> Iterator[Reading]:
        if reading.name == ANCHOR or self._pieces.is_made((reading.name, reading.round)):
            yield reading

    def _lose(self, number: int, error: Exception) -> None:
        if not isinstance(error, NasError):
            raise error
        piece = self._pieces.unmade(number)
        self._pieces.give_back(number)
        worker = self._workers.pop(number)
        worker.stop(is_complete=False)
        # What a device cannot do may be its own trouble; what two cannot do is not.
        is_refused = not isinstance(error, LostDeviceError)
        if not self._workers or (is_refused and piece & self._refused):
            raise error
        if is_refused:
            self._refused |= piece
        self._on_lost(worker.name, error)

    def _unread(self) -> Iterator[Reading]:
        with suppress(Empty):
            while True:
                told = self._inbox.get_nowait()
                if told.reading is not None:
                    yield from self._wanted(told.reading)

    def _stop(self, is_complete: bool) -> None:
        for worker in self._workers.values():
            worker.stop(is_complete=is_complete)
        until_s = monotonic() + STOP_S
        for worker in self._workers.values():
            worker.join(until_s - monotonic())
