"""Show a sweep of trainings: a bar for each that goes on, one for all, and a line for each end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any, Self

from rich.console import Console
from rich.markup import escape

from nas.showing_steps import showing_steps
from nas.steps import OnStep
from nas.train.showing import final_line, watch_of

ALL = "all trainings"


@dataclass(kw_only=True)
class Steps:
    """The steps of one training: those done when it was first heard of, those done, and all."""

    begun: int
    done: int
    total: int


class SweepShow:
    """Shows the trainings that `names` calls, by their numbers; every line begins with the name.

    on_step: shows other work, such as reading images. watches: who is told what each training does.
    """

    def __init__(self, console: Console, names: Sequence[str], on_step: OnStep) -> None:
        self.console, self.on_step = console, on_step
        self._names = names
        self.watches = [
            watch_of(console, partial(self._step, number), f"{escape(name)}  ")
            for number, name in enumerate(names)
        ]
        self._steps: dict[int, Steps] = {}
        self._over = set[int]()
        self._started: float | None = None

    @classmethod
    @contextmanager
    def on(cls, console: Console, names: Sequence[str], *, has_bars: bool) -> Iterator[Self]:
        """Yield what shows on a console; without bars where the trainings draw their own."""
        if not has_bars:
            yield cls(console, names, lambda what, done, total: None)
            return
        with showing_steps(console) as on_step:
            yield cls(console, names, on_step)

    def ended(self, number: int, metrics: dict[str, Any], weights: Path) -> None:
        """Say what a training reached."""
        self.console.print(f"{escape(self._names[number])}  {final_line(metrics)}")
        self.console.print(f"{escape(self._names[number])}  weights  {escape(str(weights))}")
        self._end(number)

    def failed(self, number: int, reason: str) -> None:
        """Say why a training came to nothing."""
        name = escape(self._names[number])
        self.console.print(f"{name}  [bold red]failed:[/] {escape(reason)}")
        self._end(number)

    def seconds_left(self, now: float) -> float | None:
        """Return how long it takes until all have ended; None: nothing tells yet.

        Those that have not begun are counted with as many steps as the others have on average.
        """
        gained = sum(one.done - one.begun for one in self._steps.values())
        if self._started is None or not gained or now <= self._started:
            return None
        return self._left() * (now - self._started) / gained

    def _left(self) -> float:
        going = {number: one for number, one in self._steps.items() if number not in self._over}
        n_unknown = len(self._names) - len(self._over) - len(going)
        mean = fmean(one.total for one in self._steps.values()) if self._steps else 0.0
        return sum(one.total - one.done for one in going.values()) + n_unknown * mean

    def _step(self, number: int, _: str, done: int, total: int) -> None:
        if self._started is None:
            self._started = monotonic()
        steps = self._steps.setdefault(number, Steps(begun=done, done=done, total=total))
        steps.begun, steps.done = min(steps.begun, done), done
        self.on_step(self._names[number], done, total)
        self._show_all()

    def _end(self, number: int) -> None:
        self._over.add(number)
        self.on_step(self._names[number], 1, 1)
        self._show_all()
        left = self.seconds_left(monotonic())
        if left is not None and len(self._over) < len(self._names):
            self.console.print(
                f"{len(self._over)} of {len(self._names)} trainings ended, left about "
                f"{timedelta(seconds=round(left))}"
            )

    def _show_all(self) -> None:
        done = sum(one.done for one in self._steps.values())
        self.on_step(ALL, done, done + round(self._left()))
