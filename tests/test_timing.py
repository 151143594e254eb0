"""Rounds under a fake clock, and what is made of readings with known answers."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from nas.latency.readings import Measurement, anchor_drift_percent, measurements, paces
from nas.latency.runner.timing import (
    ANCHOR,
    Clock,
    Plan,
    Reading,
    count_preemptions,
    n_visits,
    time_rounds,
)

NS_PER_MS = 1_000_000


class FakeMachine:
    """A clock that only its own work moves, `pace` times as slowly as usual.

    Whoever runs the tests may lose the core at any time; this machine does only when told.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self.pace = 1.0
        self.n_preemptions = 0
        self.n_runs: Counter[str] = Counter()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now_ns, lambda: self.n_preemptions)

    def work(self, name: str, ms: float) -> Callable[[], None]:
        def run() -> None:
            self.n_runs[name] += 1
            self.now_ns += round(ms * self.pace * NS_PER_MS)

        return run


def _time(
    machine: FakeMachine, plan: Plan, costs: dict[str, float], done: set[tuple[str, int]]
) -> list[Reading]:
    runs = {name: machine.work(name, ms) for name, ms in costs.items()}
    anchor = machine.work(ANCHOR, 1.0)
    return list(time_rounds(runs, anchor, plan, seed=0, done=done, clock=machine.clock))


def test_every_name_is_visited_once_a_round_in_changing_order() -> None:
    names = [f"layer {number}" for number in range(20)]
    plan = Plan(n_rounds=3, n_warmups=2, n_runs=4, anchor_every=10)
    machine = FakeMachine()
    readings = _time(machine, plan, dict.fromkeys(names, 2.0), set())
    orders = [[r.name for r in readings if r.round == n and r.name != ANCHOR] for n in range(3)]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert machine.n_runs["layer 0"] == 3 * (2 + 4)
    assert [r.name for r in readings].count(ANCHOR) == 3 * 2
    assert all(r.times_ms == (2.0,) * 4 for r in readings if r.name != ANCHOR)


def test_the_same_seed_gives_the_same_order() -> None:
    costs = {f"layer {number}": 1.0 for number in range(9)}
    first = _time(FakeMachine(), Plan(n_rounds=2), costs, set())
    assert first == _time(FakeMachine(), Plan(n_rounds=2), costs, set())


def test_a_continued_run_visits_only_what_is_left() -> None:
    costs = {"a": 1.0, "b": 2.0}
    plan = Plan(n_rounds=2)
    done = {("a", 0), ("b", 0), ("b", 1)}
    readings = _time(FakeMachine(), plan, costs, done)
    assert [(r.name, r.round) for r in readings] == [(ANCHOR, 1), ("a", 1)]
    assert n_visits(costs, plan, done) == 1


def test_time_goes_on_from_the_start_given() -> None:
    machine = FakeMachine()
    rounds = time_rounds(
        {"a": machine.work("a", 5.0)},
        machine.work(ANCHOR, 1.0),
        Plan(n_rounds=1, n_warmups=0, n_runs=1),
        seed=0,
        start_s=7.0,
        clock=machine.clock,
    )
    assert [reading.at_s for reading in rounds] == pytest.approx([7.0, 7.001])


def test_a_later_pass_numbers_its_rounds_on() -> None:
    readings = _time(FakeMachine(), Plan(n_rounds=2, first_round=5), {"a": 1.0}, {("a", 5)})
    assert [(r.name, r.round) for r in readings] == [(ANCHOR, 6), ("a", 6)]


def test_a_visit_to_what_takes_long_ends_early() -> None:
    plan = Plan(n_rounds=1, n_warmups=1, n_runs=5, visit_ms=25)
    costs = {"short": 1.0, "long": 10.0, "longest": 100.0}
    readings = _time(FakeMachine(), plan, costs, set())
    assert {r.name: len(r.times_ms) for r in readings if r.name != ANCHOR} == {
        "short": 5,
        "long": 2,
        "longest": 1,
    }


def test_a_run_that_lost_its_core_is_made_again() -> None:
    machine = FakeMachine()
    slowed = iter([True, False, True, False, False, *[False] * 20])

    def run() -> None:
        is_slowed = next(slowed)
        machine.n_preemptions += is_slowed
        machine.work("a", 9.0 if is_slowed else 1.0)()

    plan = Plan(n_rounds=1, n_warmups=0, n_runs=3)
    rounds = time_rounds({"a": run}, machine.work(ANCHOR, 1.0), plan, seed=0, clock=machine.clock)
    assert [r.times_ms for r in rounds][1] == (1.0, 1.0, 1.0)


def test_a_core_that_is_never_left_alone_gives_the_least_disturbed_run() -> None:
    machine = FakeMachine()
    costs = iter([9.0, 5.0, 2.0, *[3.0] * 20])

    def run() -> None:
        machine.n_preemptions += 1
        machine.work("a", next(costs))()

    plan = Plan(n_rounds=1, n_warmups=1, visit_ms=1000)
    rounds = time_rounds({"a": run}, machine.work(ANCHOR, 1.0), plan, seed=0, clock=machine.clock)
    assert [r.times_ms for r in rounds if r.name == "a"] == [(2.0,)]
    assert machine.n_runs["a"] == 1 + 7


def test_preemptions_are_counted_where_the_system_tells() -> None:
    before = count_preemptions()
    assert count_preemptions() >= before >= 0


def test_what_must_be_opened_is_open_during_its_visits_only() -> None:
    machine = FakeMachine()
    events: list[str] = []

    class Opened:
        def __enter__(self) -> None:
            events.append("open")
            machine.now_ns += 50 * NS_PER_MS

        def __exit__(self, *_: object) -> None:
            events.append("close")

        def __call__(self) -> None:
            events.append("run")
            machine.work("a", 1.0)()

    plan = Plan(n_rounds=2, n_warmups=1, n_runs=1)
    anchor = machine.work(ANCHOR, 1.0)
    rounds = time_rounds({"a": Opened()}, anchor, plan, seed=0, clock=machine.clock)
    assert [r.times_ms for r in rounds if r.name == "a"] == [(1.0,), (1.0,)]
    assert events == ["open", "run", "run", "close"] * 2


def test_a_measurement_keeps_raw_times_and_judges_itself() -> None:
    steady = Measurement(visits_ms=((1.0, 1.0, 9.0), (1.0, 1.02, 1.0)), paces=(1.0, 1.0))
    assert (steady.ms, steady.n, steady.is_settled) == (1.0, 6, True)
    assert steady.iqr_ms == pytest.approx(0.015)
    torn = Measurement(visits_ms=((1.0, 1.0), (2.0, 2.0)), paces=(1.0, 1.0))
    assert (torn.ms, torn.halves_ms, torn.is_settled) == (1.5, (1.0, 2.0), False)


def test_the_halves_are_the_even_and_the_odd_visits() -> None:
    visits = ((1.0,), (2.0,), (3.0,), (4.0,), (5.0,))
    assert Measurement(visits_ms=visits, paces=(1.0,) * 5).halves_ms == (3.0, 3.0)
    single = Measurement(visits_ms=((1.0,),), paces=(1.0,))
    assert single.halves_ms == (1.0, 1.0)


def test_the_standard_deviation_is_that_of_a_median() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(10, 0.2, size=(500, 25))
    made = [Measurement(visits_ms=tuple((x,) for x in row), paces=(1.0,) * 25) for row in draws]
    true_std = float(np.std([one.ms for one in made]))
    assert np.mean([one.std_ms for one in made]) == pytest.approx(true_std, rel=0.15)


def test_slowed_is_the_same_on_a_slower_machine() -> None:
    measured = Measurement(visits_ms=((2.0, 2.0), (4.0, 4.0)), paces=(1.0, 1.0))
    assert measured.slowed(2).ms == measured.ms / 2
    assert measured.slowed(2).iqr_ms == measured.iqr_ms / 2


def test_a_pace_is_divided_out() -> None:
    halved = Measurement(visits_ms=((1.0, 1.0), (2.0, 2.0)), paces=(1.0, 2.0))
    assert (halved.ms, halved.iqr_ms) == (1.0, 0.0)


def test_a_machine_that_slows_down_for_a_while_does_not_change_the_figures() -> None:
    costs = {f"layer {number}": 1.0 + number / 7 for number in range(40)}
    machine = FakeMachine()
    readings = []
    runs = {name: machine.work(name, ms) for name, ms in costs.items()}
    rounds = time_rounds(
        runs, machine.work(ANCHOR, 1.0), Plan(n_rounds=12), seed=3, clock=machine.clock
    )
    for index, reading in enumerate(rounds):
        readings.append(reading)
        machine.pace = 1.8 if index // 60 % 2 else 1.0
    for name, measured in measurements(readings).items():
        if name != ANCHOR:
            assert measured.ms == pytest.approx(costs[name], rel=0.01)


def test_an_outlier_does_not_excuse_itself() -> None:
    times = [1.0] * 30
    times[15] = 10.0
    readings = [
        Reading(name=f"{index % 3}", round=index // 3, at_s=index, times_ms=(ms,))
        for index, ms in enumerate(times)
    ]
    assert paces(readings) == pytest.approx(np.ones(30))


def test_few_readings_have_no_pace() -> None:
    assert measurements([]) == {}
    readings = [Reading(name="a", round=n, at_s=n, times_ms=(1.0 + n,)) for n in range(3)]
    assert measurements(readings)["a"].ms == 2.0


def test_drift_is_the_anchors_slowest_round_above_its_fastest() -> None:
    readings = [
        Reading(name=name, round=number, at_s=0, times_ms=(ms,))
        for name, number, ms in [
            (ANCHOR, 0, 1.0),
            (ANCHOR, 0, 1.0),
            (ANCHOR, 0, 5.0),
            (ANCHOR, 1, 1.25),
            ("a", 1, 9.0),
        ]
    ]
    assert anchor_drift_percent(readings) == pytest.approx(25)
    assert anchor_drift_percent(readings[-1:]) == 0
