"""Time things in shuffled, interleaved rounds, and say how far the times are to be trusted.

A machine drifts: clocks, heat, neighbours. Timing one thing after the other charges the drift to
whatever ran then; so every round visits all of them in a new order, and an anchor in between shows
the drift itself.
"""

import gc
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from nas.errors import NasError
from nas.text import integer

Run = Callable[[], object]
ANCHOR = "anchor"
# Other work on a machine can only slow a run down, so the quick rounds tell most; a decile of
# round medians, not their least, so that one freak round does not decide.
QUANTILE = 0.1
STABLE_SPREAD = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often to time: rounds, and in each visit warm-ups and the runs that count."""

    n_rounds: int = 20
    n_warmups: int = 2
    n_runs: int = 5
    anchor_every: int = 50

    def __post_init__(self) -> None:
        integer(self.n_rounds, "rounds", 1, 10_000)
        integer(self.n_warmups, "warmups", 0, 10_000)
        integer(self.n_runs, "runs", 1, 10_000)
        integer(self.anchor_every, "anchor_every", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One visit: the times of consecutive runs, taken `at_s` seconds after the first visit."""

    name: str
    round: int
    at_s: float
    times_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The raw times of one thing, a tuple a round; its statistics are properties."""

    rounds_ms: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not self.n:
            raise NasError("a measurement must have at least one time, but has none.")

    @property
    def n(self) -> int:
        """Return the number of timed runs."""
        return sum(map(len, self.rounds_ms))

    @property
    def ms(self) -> float:
        """Return the lowest decile of the rounds' medians."""
        return float(np.quantile([np.median(times) for times in self.rounds_ms], QUANTILE))

    @property
    def median_ms(self) -> float:
        """Return the median of all runs."""
        return float(np.median(np.concatenate(self.rounds_ms)))

    @property
    def iqr_ms(self) -> float:
        """Return the distance between the quartiles of all runs."""
        low, high = np.quantile(np.concatenate(self.rounds_ms), (0.25, 0.75))
        return float(high - low)

    @property
    def is_stable(self) -> bool:
        """Tell whether the middle half of the runs lies within a tenth of the median."""
        return self.iqr_ms < STABLE_SPREAD * self.median_ms


def time_rounds(
    runs: Mapping[str, Run],
    anchor: Run,
    plan: Plan,
    *,
    seed: int,
    done: Collection[tuple[str, int]] = (),
    start_s: float = 0.0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Iterator[Reading]:
    """Yield a reading a visit, round by round, leaving out the (name, round) pairs `done`.

    What is yielded is complete, so a caller may stop at any time and go on later with what it has
    as `done`, and the last reading's `at_s` as `start_s`. `clock` counts nanoseconds.
    """
    begin = clock()
    for number in range(plan.n_rounds):
        for name in _order(runs, number, seed, done, plan.anchor_every):
            run = anchor if name == ANCHOR else runs[name]
            at_s = start_s + (clock() - begin) / 1e9
            times_ms = _visit(run, plan, clock)
            yield Reading(name=name, round=number, at_s=at_s, times_ms=times_ms)


def n_visits(names: Collection[str], plan: Plan, done: Collection[tuple[str, int]] = ()) -> int:
    """Return how many visits are left, the anchor's not counted."""
    wanted = ((name, number) for name in names for number in range(plan.n_rounds))
    return sum(pair not in done for pair in wanted)


def measurements(readings: Sequence[Reading]) -> dict[str, Measurement]:
    """Return what all visits say of each name."""
    rounds: dict[str, list[tuple[float, ...]]] = {}
    for reading in readings:
        rounds.setdefault(reading.name, []).append(reading.times_ms)
    return {name: Measurement(rounds_ms=tuple(times)) for name, times in rounds.items()}


def anchor_drift_percent(readings: Sequence[Reading]) -> float:
    """Return how far the anchor's slowest round lies above its fastest, in percent.

    A round's figure is the median over its visits. Rounds of an interrupted and of the continued
    run count as one where they have the same number.
    """
    rounds: dict[int, list[float]] = {}
    for reading in readings:
        if reading.name == ANCHOR:
            rounds.setdefault(reading.round, []).append(float(np.median(reading.times_ms)))
    medians = [float(np.median(times)) for times in rounds.values()]
    return 100 * (max(medians) / min(medians) - 1) if medians else 0.0


def _order(
    names: Collection[str],
    number: int,
    seed: int,
    done: Collection[tuple[str, int]],
    anchor_every: int,
) -> Iterator[str]:
    left = [name for name in names if (name, number) not in done]
    random.Random(f"{seed}/{number}").shuffle(left)
    for index, name in enumerate(left):
        if index % anchor_every == 0:
            yield ANCHOR
        yield name


def _visit(run: Run, plan: Plan, clock: Callable[[], int]) -> tuple[float, ...]:
    for _ in range(plan.n_warmups):
        run()
    times_ms = []
    with _no_collection():
        for _ in range(plan.n_runs):
            begin = clock()
            run()
            times_ms.append((clock() - begin) / 1e6)
    return tuple(times_ms)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
