"""Time things in shuffled, interleaved rounds.

A machine drifts: clocks, heat, neighbours. Timing one thing after the other charges the drift to
whatever ran then; so every round visits all of them in a new order, with an anchor in between.
What the times say is left to `nas.latency.readings`.
"""

import gc
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]
if not hasattr(resource, "RUSAGE_THREAD"):  # macOS
    resource = None  # type: ignore[assignment]

# A run during which another process had the core says nothing of the model, and is made again; on
# a core that is never left alone, this often.
MAX_DISTURBED = 6
Run = Callable[[], object]
"""Runs a thing once. One that is a context manager too is entered before a visit, untimed."""
ANCHOR = "anchor"


def count_preemptions() -> int:
    """Return how often the system took the core from this thread; 0 where it does not say."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


@dataclass(frozen=True, slots=True)
class Clock:
    """What tells of a run how many nanoseconds it took, and whether it had the core to itself."""

    ns: Callable[[], int] = time.perf_counter_ns
    n_preemptions: Callable[[], int] = count_preemptions


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often to time: rounds, and in each visit warm-ups and the runs that count.

    A visit to what takes long ends early: once `visit_ms` are spent, no further run is begun, but
    one always counts. `first_round` numbers the rounds of a later pass on from an earlier one.
    """

    n_rounds: int = 14
    n_warmups: int = 1
    n_runs: int = 3
    anchor_every: int = 50
    visit_ms: float = 25.0
    first_round: int = 0

    @property
    def rounds(self) -> range:
        """Return the numbers of the rounds."""
        return range(self.first_round, self.first_round + self.n_rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One visit: the times of consecutive runs, taken `at_s` seconds after the first visit.

    `device` tells which of several made it; it is empty where there is one.
    """

    name: str
    round: int
    at_s: float
    times_ms: tuple[float, ...]
    device: str = ""

    def content(self) -> dict[str, Any]:
        """Return what a file keeps: the fields, the device only where it has a name."""
        content = asdict(self)
        if not self.device:
            del content["device"]
        return content


def time_rounds(
    runs: Mapping[str, Run],
    anchor: Run,
    plan: Plan,
    *,
    seed: int,
    done: Collection[tuple[str, int]] = (),
    start_s: float = 0.0,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[Reading]:
    """Yield a reading a visit, round by round, leaving out the (name, round) pairs `done`.

    What is yielded is complete, so a caller may stop at any time and go on later with what it has
    as `done`, and the last reading's `at_s` as `start_s`.
    """
    begin = clock.ns()
    for name, number in visits(runs, plan, seed=seed, done=done):
        run = anchor if name == ANCHOR else runs[name]
        at_s = start_s + (clock.ns() - begin) / 1e9
        times_ms = _visit(run, plan, clock)
        yield Reading(name=name, round=number, at_s=at_s, times_ms=times_ms)


def visits(
    names: Iterable[str], plan: Plan, *, seed: int, done: Collection[tuple[str, int]] = ()
) -> Iterator[tuple[str, int]]:
    """Yield what to visit in which round, in order, the anchor in between."""
    known = list(names)
    for number in plan.rounds:
        left = [name for name in known if (name, number) not in done]
        random.Random(f"{seed}/{number}").shuffle(left)
        yield from ((name, number) for name in _with_anchor(left, plan.anchor_every))


def n_visits(names: Collection[str], plan: Plan, done: Collection[tuple[str, int]] = ()) -> int:
    """Return how many visits are left, the anchor's not counted."""
    wanted = ((name, number) for name in names for number in plan.rounds)
    return sum(pair not in done for pair in wanted)


def _with_anchor(names: Collection[str], anchor_every: int) -> Iterator[str]:
    for index, name in enumerate(names):
        if index % anchor_every == 0:
            yield ANCHOR
        yield name


def _visit(run: Run, plan: Plan, clock: Clock) -> tuple[float, ...]:
    opened = run if isinstance(run, AbstractContextManager) else nullcontext()
    with opened, _no_collection():
        first = clock.ns()
        for _ in range(plan.n_warmups):
            run()
        times_ms: list[float] = []
        disturbed_ms: list[float] = []
        while len(times_ms) < plan.n_runs:
            n_before, begin = clock.n_preemptions(), clock.ns()
            run()
            end, n_after = clock.ns(), clock.n_preemptions()
            kept = times_ms if n_after == n_before else disturbed_ms
            kept.append((end - begin) / 1e6)
            if (end - first) / 1e6 > plan.visit_ms or len(disturbed_ms) > MAX_DISTURBED:
                break
    return tuple(times_ms) or (min(disturbed_ms),)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
