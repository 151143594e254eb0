"""Time things in shuffled, interleaved rounds.

A machine drifts: clocks, heat, neighbours. Timing one thing after the other charges the drift to
whatever ran then; so every round visits all of them in a new order, with an anchor in between.
What the times say is left to `nas.latency.readings`.
"""

import gc
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from nas.latency.readings import ANCHOR, Reading
from nas.text import integer

Run = Callable[[], object]


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
        left = [name for name in runs if (name, number) not in done]
        random.Random(f"{seed}/{number}").shuffle(left)
        for name in _with_anchor(left, plan.anchor_every):
            run = anchor if name == ANCHOR else runs[name]
            at_s = start_s + (clock() - begin) / 1e9
            times_ms = _visit(run, plan, clock)
            yield Reading(name=name, round=number, at_s=at_s, times_ms=times_ms)


def n_visits(names: Collection[str], plan: Plan, done: Collection[tuple[str, int]] = ()) -> int:
    """Return how many visits are left, the anchor's not counted."""
    wanted = ((name, number) for name in names for number in range(plan.n_rounds))
    return sum(pair not in done for pair in wanted)


def _with_anchor(names: Collection[str], anchor_every: int) -> Iterator[str]:
    for index, name in enumerate(names):
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
