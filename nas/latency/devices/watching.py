"""Readings fetched from a board that measures by itself, over a connection that may break."""

from collections.abc import Iterator
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from nas.errors import NasError
from nas.latency.devices.board import Board
from nas.latency.devices.model_files import ModelFiles
from nas.latency.devices.remote_shell import UnreachableError
from nas.latency.runner.replies import FAILED, STOPPED
from nas.latency.runner.sheet import Sheet, Visit, parse_reading
from nas.latency.runner.timing import ANCHOR, Reading
from nas.steps import OnStep
from nas.text import printable

LONGEST_WAIT_S = 30.0
# A worker that the system kills (memory) may do better once more, but not for ever.
MOST_IDLE_STARTS = 2


class Patience:
    """Waits between tries to reach a board, each twice as long, `give_up_s` in all."""

    def __init__(self, give_up_s: float, on_step: OnStep) -> None:
        self._give_up_s, self._on_step = give_up_s, on_step
        self.reset()

    def reset(self) -> None:
        """Begin anew: the board was reached."""
        self._wait_s, self._lost_s = 0.5, 0.0

    def wait(self, error: UnreachableError) -> None:
        """Wait before the next try.

        Raises:
            UnreachableError: it has been out of reach for too long.
        """
        now_s = monotonic()
        self._lost_s = self._lost_s or now_s
        if now_s - self._lost_s > self._give_up_s:
            raise UnreachableError(
                f"{error} Gave up after {self._give_up_s:.0f} s; a board that runs goes on "
                "measuring by itself, and the same command fetches what it has."
            ) from error
        self._on_step("reconnecting", round(now_s - self._lost_s), round(self._give_up_s))
        sleep(min(self._wait_s, max(0.1, self._give_up_s - (now_s - self._lost_s))))
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)


class Watch:
    """One job on a board: started, followed, started again where it was cut off."""

    def __init__(
        self, board: Board, sheet: Sheet, files: ModelFiles, patience: Patience, on_step: OnStep
    ) -> None:
        self._board, self._sheet, self._files = board, sheet, files
        self._patience, self._on_step = patience, on_step
        self._left: set[Visit] = sheet.wanted
        self._is_started = False
        self._n_idle_starts = 0
        self._offset = 0
        self._n_old_bytes: int | None = None

    def readings(self) -> Iterator[Reading]:
        """Yield the readings as they come, those first that an earlier watch did not fetch.

        Raises:
            NasError: the board is out of reach for too long, or cannot go on.
        """
        try:
            while self._left:
                try:
                    if not self._is_started:
                        self._start()
                    yield from self._fetch()
                except UnreachableError as error:
                    self._patience.wait(error)
        except (GeneratorExit, KeyboardInterrupt):
            with suppress(NasError):
                self._board.stop(self._sheet)
            raise
        # All is here; that the board forgets it later, or never, does no harm to these readings.
        with suppress(UnreachableError):
            self._board.finish(self._sheet)

    def _start(self) -> None:
        n_bytes = self._board.start(self._sheet)
        self._is_started = True
        self._n_idle_starts += 1
        if self._n_old_bytes is None:
            self._n_old_bytes = n_bytes
        self._patience.reset()

    def _fetch(self) -> Iterator[Reading]:
        for content in self._board.follow(self._sheet, self._offset):
            self._patience.reset()
            if "opened" in content:
                self._on_step("opening", *content["opened"])
            if "end" in content:
                self._check_end(content["end"])
            if "line" in content:
                is_old = self._offset < (self._n_old_bytes or 0)
                self._offset += content["n_bytes"]
                yield from self._wanted(content["line"], is_old=is_old)
            if not self._left:
                return

    def _wanted(self, line: str, *, is_old: bool) -> Iterator[Reading]:
        try:
            reading, digest = parse_reading(line)
        except ValueError as error:
            raise NasError(
                f"{self._board.host} sent a reading that is none: {error}. Measure all again with "
                "fresh=true."
            ) from error
        if not self._sheet.holds(reading, digest):
            return
        # Of the anchor's old readings none says whether it was fetched; a few less do no harm.
        is_fetched = is_old and (reading.name, reading.round) in self._sheet.done
        visit = (reading.name, digest, reading.round)
        if visit in self._left:
            self._left.remove(visit)
            self._n_idle_starts = 0
            yield reading
        elif reading.name == ANCHOR and not is_fetched:
            yield reading

    def _check_end(self, end: dict[str, Any]) -> None:
        """Have what is missing measured, unless that is hopeless."""
        if not self._left:
            return
        self._is_started = False
        host, status = self._board.host, end.get("status")
        reason = printable(self._files.named(str(end.get("error", ""))[:2000]), 500)
        if status == FAILED:
            raise NasError(f"{host} could not go on: {reason}. {self._board.advice(end)}")
        if status == STOPPED:
            raise NasError(
                f"measuring on {host} was stopped from elsewhere. One host at a time may use it; "
                "the same command goes on."
            )
        if self._n_idle_starts > MOST_IDLE_STARTS:
            ended = printable(str(status or "unexpectedly"))
            raise NasError(
                f"the runner on {host} ended {ended} without a reading, "
                f"{self._n_idle_starts} times: {reason or 'it says nothing'}. It may lack memory: "
                f"ssh {host} dmesg"
            )
