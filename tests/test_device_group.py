"""Several devices that share the work: stand-ins of known speeds, real sshds, and every loss."""

import json
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from conftest import Enter
from numpy.typing import NDArray
from test_adb import Phone
from test_adb import make_job as phone_job
from test_ssh import Sshd, model, needs_sshd, slow_job

from nas.arch import Layer
from nas.errors import NasError
from nas.export.timing import NAME, time_file
from nas.latency import session
from nas.latency.__main__ import main
from nas.latency.device_offsets import devices_header, devices_said
from nas.latency.devices import adb_shell, cooling
from nas.latency.devices.contract import Device, Facts, LostDeviceError
from nas.latency.devices.group import DeviceGroup
from nas.latency.devices.pieces import Pieces, others_of
from nas.latency.devices.registry import load_device
from nas.latency.devices.worker import Worker
from nas.latency.measure import Setting, measure
from nas.latency.raw_times import raw_times_path
from nas.latency.readings import device_paces, measurements, paces
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Plan, Reading, visits
from nas.latency.runtimes.registry import load_runtime
from nas.latency.session import ANCHOR_LAYER
from nas.latency.subjects import Probes, Subject
from nas.latency.summary import summary
from nas.latency.table import LatencyTable
from nas.space import SearchSpace
from nas.steps import OnStep

FACTS = Facts(
    cpu="Cortex-A76",
    n_cores=4,
    cores=(3,),
    governor="performance",
    clock_mhz="2400",
    temperature_c="41",
    runtime_version="1.27.0",
)
NAMES = [f"layer {number}" for number in range(30)]
COSTS = {name: 1.0 + number / 7 for number, name in enumerate(NAMES)} | {ANCHOR: 2.0}
PLAN = Plan(n_rounds=6, n_warmups=0, n_runs=1)
JOB = Job(runtime="onnxruntime", plan=PLAN, models=dict.fromkeys(NAMES, b""), anchor=b"")
HOST = "hardware.connection.host"


@dataclass
class StandIn:
    """A device that takes what COSTS say, `pace` times as long, and may wobble or die."""

    costs: dict[str, float] = field(default_factory=lambda: COSTS)
    pace: float = 1.0
    wobble: float = 0.0
    wait_s: float = 0.0
    facts_told: Facts | NasError = FACTS
    dies_after: int | None = None
    error: NasError = field(default_factory=lambda: LostDeviceError("the cable was cut"))
    n_made: int = 0
    n_jobs: int = 0
    n_closed: int = 0
    n_forgotten: int = 0
    hangs: bool = False

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        if isinstance(self.facts_told, NasError):
            raise self.facts_told
        return self.facts_told

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        self.n_jobs += 1
        rng = Random(crc32(repr((sorted(job.models), self.pace)).encode()))
        on_step("opening", 1, 1)
        try:
            for number, (name, round_) in enumerate(
                visits(job.models, job.plan, seed=job.seed, done=done)
            ):
                if self.dies_after is not None and self.n_made >= self.dies_after:
                    until_s = time.monotonic() + 5
                    while self.hangs:
                        on_step("reconnecting", 1, 600)
                        time.sleep(0.002)
                        assert time.monotonic() < until_s, "nobody may wait for it"
                    raise self.error
                if self.wait_s:
                    time.sleep(self.wait_s)
                self.n_made += name != ANCHOR
                ms = self.costs[name] * self.pace * (1 + self.wobble * rng.uniform(-1, 1))
                yield Reading(name=name, round=round_, at_s=start_s + number, times_ms=(ms,))
        except GeneratorExit:
            self.n_closed += 1
            raise

    def forget(self) -> None:
        self.n_forgotten += 1


def group(**devices: Device) -> DeviceGroup:
    return DeviceGroup(devices, HOST)


def ignore(what: str, n_done: int, n_all: int) -> None:
    pass


def timed(
    devices: DeviceGroup, job: Job = JOB, done: Collection[tuple[str, int]] = ()
) -> list[Reading]:
    return list(devices.time(job, done=done, start_s=0.0, on_step=ignore))


def check_once(readings: Sequence[Reading], job: Job = JOB) -> None:
    counts = Counter((one.name, one.round) for one in readings if one.name != ANCHOR)
    assert counts == {(name, number): 1 for name in job.models for number in job.plan.rounds}


def no_thread_is_left() -> bool:
    until = time.monotonic() + 5
    while _device_threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not _device_threads()


def _device_threads() -> list[str]:
    # Libraries that other tests use leave threads of their own.
    return [one.name for one in threading.enumerate() if one.name.startswith("device ")]


def test_the_work_is_shared_and_each_reading_names_its_device() -> None:
    devices = {"pi1": StandIn(wait_s=0.001), "pi2": StandIn(wait_s=0.001)}
    steps = set[str]()
    readings = list(
        group(**devices).time(JOB, done=(), start_s=7.0, on_step=lambda what, *_: steps.add(what))
    )
    check_once(readings)
    assert {one.device for one in readings} == {"pi1", "pi2"}
    for name in ("pi1", "pi2"):
        own = [one for one in readings if one.device == name]
        # Of two pieces each, some may go to the other when that one is free first.
        assert 0.25 < len(own) / len(readings) < 0.75
        assert {one.round for one in own if one.name == ANCHOR} == set(PLAN.rounds)
    assert steps == {"opening pi1", "opening pi2"}
    assert min(one.at_s for one in readings) >= 7.0
    assert no_thread_is_left()


def test_a_slow_device_makes_less() -> None:
    slow, quick = StandIn(wait_s=0.06, pace=60), StandIn(wait_s=0.001)
    readings = timed(group(slow=slow, quick=quick))
    check_once(readings)
    counts = Counter(one.device for one in readings)
    assert counts["slow"] < 0.3 * counts["quick"]
    # What it was stopped in is no reading of a later command.
    assert (slow.n_closed, slow.n_forgotten, quick.n_forgotten) == (1, 1, 0)


def test_what_is_done_is_left_out() -> None:
    done = {(name, number) for name in NAMES for number in range(5)}
    readings = timed(group(pi1=StandIn(), pi2=StandIn()), done=done)
    left = [(one.name, one.round) for one in readings if one.name != ANCHOR]
    assert sorted(left) == sorted((name, 5) for name in NAMES)
    assert not timed(group(pi1=StandIn()), done=done | set(left))


@pytest.mark.parametrize("hangs", [False, True])
def test_a_device_that_dies_costs_only_itself(hangs: bool) -> None:
    dying = StandIn(wait_s=0.001, dies_after=10, hangs=hangs)
    devices = group(pi1=StandIn(wait_s=0.001), pi2=dying, pi3=StandIn(wait_s=0.001))
    lost = list[tuple[str, str]]()
    devices.on_lost = lambda name, error: lost.append((name, str(error)))
    readings = timed(devices)
    check_once(readings)
    assert sum(one.device == "pi2" and one.name != ANCHOR for one in readings) <= 10
    # One that is waited for is not lost, but nobody waits for it either.
    assert lost == ([] if hangs else [("pi2", "the cable was cut")])
    assert no_thread_is_left()
    dying.facts_told = LostDeviceError("still cut")
    assert devices.facts("onnxruntime", 1, ()) == FACTS
    assert [*devices.lost] == ["pi2"]
    n_jobs = dying.n_jobs
    check_once(timed(devices))
    assert dying.n_jobs == n_jobs


def test_what_a_dead_device_had_is_made_in_one_go() -> None:
    living = StandIn(wait_s=0.001)
    check_once(timed(group(pi1=StandIn(dies_after=0), pi2=living)))
    assert living.n_jobs == 4, "two pieces of its own, and two that were the other's"


def test_devices_hear_of_the_anchors_that_are_kept() -> None:
    heard = list[Collection[tuple[str, int]]]()

    class Hearing(StandIn):
        def time(
            self, job: Job, *, done: Collection[tuple[str, int]], **options: Any
        ) -> Iterator[Reading]:
            heard.append(done)
            return super().time(job, done=done, **options)

    timed(group(pi1=Hearing()), done={(ANCHOR, 0), (NAMES[0], 0)})
    assert all((ANCHOR, 0) in done and (ANCHOR, 1) not in done for done in heard)


def test_a_device_whose_piece_is_made_is_left_to_end_it() -> None:
    class Finishing(StandIn):
        is_finished = False

        def time(self, job: Job, **options: Any) -> Iterator[Reading]:
            yield Reading(name="a", round=0, at_s=0, times_ms=(1.0,))
            # All is complete while the last reading is on its way.
            worker.stop(is_complete=True)
            yield Reading(name="a", round=1, at_s=0, times_ms=(1.0,))
            self.is_finished = True

    device = Finishing()
    worker = Worker(0, "pi1", device, SimpleQueue())
    worker.give(JOB, done=(), start_s=0.0, n_visits=2)
    worker.join(5)
    assert device.is_finished and device.n_forgotten == 0


def test_the_last_one_that_dies_ends_it_and_what_was_made_is_kept() -> None:
    readings = list[Reading]()
    devices = group(pi1=StandIn(dies_after=20), pi2=StandIn(dies_after=30))
    with pytest.raises(LostDeviceError, match="cable was cut"):
        for reading in devices.time(JOB, done=(), start_s=0.0, on_step=ignore):
            readings.append(reading)
    kept = [(one.name, one.round) for one in readings if one.name != ANCHOR]
    assert len(kept) == len(set(kept)) >= 30
    assert len(devices.lost) == 1, "there is nobody to go on without the last one"
    assert devices.facts("onnxruntime", 1, ()) == FACTS
    # Another list of devices goes on from there.
    rest = timed(group(pi9=StandIn()), done={(one.name, one.round) for one in readings})
    check_once([*readings, *rest])


def test_what_two_devices_cannot_do_is_not_asked_of_the_third() -> None:
    def broken() -> StandIn:
        return StandIn(dies_after=0, error=NasError("the model of layer 3 cannot be run"))

    job, odd = replace(JOB, models={"layer 3": b""}), {("layer 3", number) for number in (1, 3, 5)}
    third = StandIn(wait_s=0.05)
    with pytest.raises(NasError, match="layer 3 cannot be run"):
        timed(group(pi1=broken(), pi2=broken(), pi3=third), job, odd)
    assert no_thread_is_left()
    # A trouble that one device has by itself, such as no room, is its own.
    check_once(timed(group(pi1=broken(), pi2=StandIn())))


def test_a_device_that_leaves_visits_out_is_not_asked_again() -> None:
    class Forgetful(StandIn):
        def time(self, job: Job, **options: object) -> Iterator[Reading]:
            return iter(())

    devices = group(pi1=Forgetful(), pi2=StandIn())
    check_once(timed(devices))
    assert re.search("pi1 must make every visit", str(devices.lost["pi1"]))


def test_a_bug_is_no_loss() -> None:
    class Broken(StandIn):
        def time(self, job: Job, **options: object) -> Iterator[Reading]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        timed(group(pi1=Broken(), pi2=StandIn()))


def test_an_interrupted_command_stops_the_devices_and_keeps_all_readings() -> None:
    devices = {"pi1": StandIn(wait_s=0.001), "pi2": StandIn(wait_s=0.001)}
    readings, steps = list[Reading](), list[str]()

    def interrupt(what: str, n_done: int, n_all: int) -> None:
        steps.append(what)
        if len(steps) == 3:  # one begins its second piece, the other is in the middle of its first
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for reading in group(**devices).time(JOB, done=(), start_s=0.0, on_step=interrupt):
            readings.append(reading)
    assert no_thread_is_left()
    assert all(one.n_forgotten == 0 for one in devices.values())
    assert sum(one.n_made for one in devices.values()) == sum(
        one.name != ANCHOR for one in readings
    )
    some = group(**devices).time(JOB, done=(), start_s=0.0, on_step=ignore)
    next(some)
    some.close()  # type: ignore[attr-defined]
    assert no_thread_is_left()


def test_ctrl_c_is_heard_while_no_device_says_anything() -> None:
    silent = {"pi1": StandIn(wait_s=0.4), "pi2": StandIn(wait_s=0.4)}
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        timed(group(**silent))
    timer.join()
    assert time.monotonic() - begin_s < 3
    assert all(one.n_closed == 1 for one in silent.values())


@pytest.mark.parametrize("seed", range(12))
def test_losses_at_random_moments_cost_nothing(seed: int) -> None:
    rng = Random(seed)
    devices = {f"pi{number}": StandIn() for number in range(rng.randint(2, 5))}
    for name in rng.sample(sorted(devices), rng.randint(1, len(devices) - 1)):
        devices[name].dies_after = rng.randint(0, 60)
        devices[name].hangs = rng.random() < 0.5
    check_once(timed(group(**devices)))


def test_devices_must_be_alike() -> None:
    other = replace(FACTS, cpu="Cortex-A72", runtime_version="1.20.0")
    devices = group(pi1=StandIn(), pi2=StandIn(facts_told=other), pi3=StandIn())
    with pytest.raises(NasError) as raised:
        devices.facts("onnxruntime", 1, ())
    assert str(raised.value) == (
        "devices of one list must be alike, but some differ from pi1: pi2 has cpu 'Cortex-A72', "
        "not 'Cortex-A76'; runtime_version '1.20.0', not '1.27.0'. "
        'Or leave it out: "hardware.connection.host=[pi1,pi3]"'
    )


@pytest.mark.parametrize(
    "change", [{"n_cores": 8}, {"cores": (0,)}, {"cpu": "x"}, {"runtime_version": "2"}]
)
def test_each_fact_that_decides_is_compared(change: dict[str, str]) -> None:
    other = StandIn(facts_told=replace(FACTS, **change))  # type: ignore[arg-type]
    with pytest.raises(NasError, match=f"pi2 has {next(iter(change))}"):
        group(pi1=StandIn(), pi2=other).facts("onnxruntime", 1, ())


def test_other_facts_are_all_told() -> None:
    warm = replace(FACTS, temperature_c="52", clock_mhz="2300")
    found = group(pi1=StandIn(), pi2=StandIn(facts_told=warm)).facts("onnxruntime", 1, ())
    assert found == replace(FACTS, temperature_c="41, 52", clock_mhz="2400, 2300")


def test_unreachable_devices_are_named_together() -> None:
    away = LostDeviceError("no route. Check it.")
    devices = group(pi1=StandIn(facts_told=away), pi2=StandIn(), pi3=StandIn(facts_told=away))
    with pytest.raises(NasError) as raised:
        devices.facts("onnxruntime", 1, ())
    assert str(raised.value) == (
        "each of 3 devices must answer, but 2 cannot be used. pi1: no route. Check it. "
        'pi3: no route. Check it. Or leave it out: "hardware.connection.host=[pi2]"'
    )


def shared_readings(slower: dict[str, float], costs: dict[str, float]) -> list[Reading]:
    """Return readings of a group by its own division, devices strictly in turns, with noise of 2 %.

    Each device also drifts by a tenth from its first visit to its last.
    """
    names = [name for name in costs if name != ANCHOR]
    plan = Plan(n_rounds=14)
    pieces = Pieces(((name, number) for name in names for number in plan.rounds), len(slower))
    devices = [StandIn(costs, pace, wobble=0.02) for pace in slower.values()]
    at_work = [_pieces_made(pieces, number, device, plan) for number, device in enumerate(devices)]
    counts: Counter[str] = Counter()
    found = []
    while pieces.left:
        for device, readings in zip(slower, at_work, strict=True):
            reading = next(readings, None)
            if reading is None or not _is_wanted(reading, pieces):
                continue
            counts[device] += 1
            warmth = 1 + 0.1 * counts[device] / (len(names) * plan.n_rounds / len(slower))
            times_ms = (reading.times_ms[0] * warmth,)
            found.append(replace(reading, device=device, times_ms=times_ms))
    return found


def _pieces_made(pieces: Pieces, number: int, device: StandIn, plan: Plan) -> Iterator[Reading]:
    while piece := pieces.take(number):
        job = replace(JOB, plan=plan, models={name: b"" for name, _ in piece})
        done = others_of(piece, plan.rounds)
        yield from device.time(job, done=done, start_s=0.0, on_step=ignore)


def _is_wanted(reading: Reading, pieces: Pieces) -> bool:
    return reading.name == ANCHOR or pieces.is_made((reading.name, reading.round))


@pytest.mark.parametrize(
    "slower", [{"a": 1.0, "b": 1.3}, {"a": 1.0, "b": 1.04, "c": 0.97}, {"a": 2.0, "b": 2.0}]
)
def test_the_offset_of_a_device_is_taken_out(slower: dict[str, float]) -> None:
    costs = {f"layer {number}": 0.1 * 1.03**number for number in range(60)} | {ANCHOR: 1.0}
    readings = shared_readings(slower, costs)
    check = {name: one.ms / costs[name] for name, one in measurements(readings).items()}
    del check[ANCHOR]
    scale = float(np.median([*check.values()]))
    # One scale for all names; each within what its own fourteen visits can tell.
    assert max(abs(ratio / scale - 1) for ratio in check.values()) < 0.03
    found = device_paces(readings)
    for one, other in zip(slower, [*slower][1:], strict=False):
        assert found[other] / found[one] == pytest.approx(slower[other] / slower[one], rel=0.02)
    assert min(slower.values()) * 0.98 < scale < max(slower.values()) * 1.12
    if "c" not in slower and slower["b"] > slower["a"]:
        medians = {
            name: np.median([one.times_ms for one in readings if one.name == name])
            for name in check
        }
        plain = np.array([medians[name] / costs[name] for name in check])
        assert max(abs(plain / np.median(plain) - 1)) > 0.1, "as they are, they are far off"


def test_one_device_is_counted_as_before() -> None:
    rng = np.random.default_rng(3)
    readings = [
        Reading(name=str(number % 23), round=number // 23, at_s=number, times_ms=(ms,))
        for number, ms in enumerate(rng.lognormal(0, 0.3, 23 * 7))
    ]
    assert np.array_equal(paces(readings), _paces_of_one(readings))
    named = [replace(one, device="pi1") for one in readings]
    assert np.array_equal(paces(named), _paces_of_one(readings))
    assert device_paces(readings) == {"": 1.0}


def _paces_of_one(readings: Sequence[Reading]) -> NDArray[np.float64]:
    """Return the pace of a single machine by its definition: eight neighbours, three turns."""
    times = np.array([one.times_ms[0] for one in readings])
    names = np.array([one.name for one in readings])
    found = np.ones(len(times))
    for _ in range(3):
        usual = {name: np.median((times / found)[names == name]) for name in set(names)}
        relative = np.pad(times / np.array([usual[name] for name in names]), 4, mode="reflect")
        found = np.array(
            [np.median([*relative[n : n + 4], *relative[n + 5 : n + 9]]) for n in range(len(times))]
        )
    return np.asarray(found / np.quantile(found, 0.1))


@pytest.mark.parametrize("n_more", [1, 3, 7])
def test_a_device_of_few_readings_has_little_say(n_more: int) -> None:
    costs = COSTS
    readings = [
        replace(one, device="a") for one in StandIn().time(JOB, done=(), start_s=0, on_step=ignore)
    ]
    few = [
        Reading(name=name, round=9, at_s=0, times_ms=(1.5 * costs[name],), device="b")
        for name in NAMES[:n_more]
    ]
    found = measurements([*readings, *few])
    assert {name: one.ms for name, one in found.items()} == pytest.approx(costs)
    assert found[NAMES[0]].n_devices == 2
    assert found[NAMES[-1]].n_devices == 1
    assert device_paces([*readings, *few])["a"] == 1.0


def test_halves_are_those_of_the_rounds_whoever_came_first() -> None:
    readings = [
        Reading(name="a", round=number, at_s=0, times_ms=(1.0 + number % 2,), device="pi")
        for number in (1, 3, 0, 2)
    ]
    assert measurements(readings)["a"].halves_ms == (1.0, 2.0)


def test_the_header_tells_the_devices_and_warns_of_odd_ones() -> None:
    assert devices_header({"": 1.0}) == {}
    assert devices_header({"pi1": 1.0}) == {"devices": "pi1", "device_offsets_percent": "pi1 +0.0"}
    close = devices_header({"pi2": 1.012, "pi1": 0.995})
    assert close["device_offsets_percent"] == "pi1 -0.5, pi2 +1.2"
    assert "apart" not in devices_said(close)
    assert devices_said({}) == "" == devices_said(devices_header({"pi1": 1.0}))
    wide = devices_said(devices_header({"": 1.0, "pi2": 1.3}))
    assert wide.startswith("unnamed +0.0, pi2 +30.0 %")
    assert "30.0 % apart" in wide and "fresh=true" in wide
    assert devices_said({"device_offsets_percent": "a x, b y"})


LAYERS = tuple(SearchSpace.load("tiny").layers()[:24])


class LayerCosts(dict[str, float]):
    """What a layer costs, by a rule."""

    def __missing__(self, name: str) -> float:
        layer = ANCHOR_LAYER if name == ANCHOR else Layer.parse(name)
        return 0.1 + layer.in_channels * layer.size / 1000


@pytest.fixture
def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(subjects: Sequence[Subject], *_: object) -> dict[str, bytes]:
        return {one.name: b"" for one in subjects}

    monkeypatch.setattr(session, "model_files", files)


def _table(path: Path, device: Device, on_step: OnStep = ignore) -> LatencyTable:
    runtime = load_runtime("onnxruntime")
    setting = Setting(hardware="raspberry_pi", device=device, runtime=runtime)
    plan = Plan(n_rounds=6, n_runs=1)
    return measure(LAYERS, Probes(), path, setting, plan, seed=0, on_step=on_step)


def _raw(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in raw_times_path(path).read_text().splitlines()[1:]]


@pytest.mark.usefixtures("without_models")
def test_the_table_of_several_is_that_of_one(tmp_path: Path) -> None:
    costs = LayerCosts()
    alone = _table(tmp_path / "one.csv", StandIn(costs, wobble=0.02))
    slow = StandIn(costs, pace=1.3, wobble=0.02, wait_s=0.0013)
    quick = StandIn(costs, wobble=0.02, wait_s=0.001)
    path = tmp_path / "two.csv"
    steps = list[tuple[str, int, int]]()
    shared = _table(path, group(pi1=slow, pi2=quick), lambda *step: steps.append(step))
    assert tuple(shared.rows) == tuple(alone.rows) == LAYERS
    ratios = [shared.rows[layer].ms / alone.rows[layer].ms for layer in LAYERS]
    assert max(ratios) / min(ratios) < 1.06, "with noise of 2 % in each of six visits"
    assert min(ratios) > 0.95 and max(ratios) < 1.35
    n_visits = len(LAYERS) * 6
    assert [one for one in steps if one[0] == "timing"][-1] == ("timing", n_visits, n_visits)
    raw = _raw(path)
    assert {one["device"] for one in raw} == {"pi1", "pi2"}
    loaded = LatencyTable.load(path)
    assert loaded.header["devices"] == "pi1, pi2"
    for layer, row in loaded.rows.items():
        assert row.n_devices == len({one["device"] for one in raw if one["name"] == str(layer)})
    assert {row.n_devices for row in loaded.rows.values()} == {1, 2}
    offsets = re.findall(r"[+-]\d+\.\d", loaded.header["device_offsets_percent"])
    first, second = (100 + float(one) for one in offsets)
    assert first / second == pytest.approx(1.3, rel=0.02)
    assert "more than devices of one kind should" in dict(summary(loaded))["devices"]
    # Of one device nothing is told that was not told before.
    assert "devices" not in alone.header
    assert "devices" not in (tmp_path / "one.csv").read_text()
    assert all("device" not in one for one in _raw(tmp_path / "one.csv"))


@pytest.mark.usefixtures("without_models")
def test_an_interrupted_table_goes_on_with_other_devices(tmp_path: Path) -> None:
    path, costs = tmp_path / "table.csv", LayerCosts()

    def interrupt(what: str, n_done: int, n_all: int) -> None:
        if what == "timing" and n_done == 30:
            raise KeyboardInterrupt

    devices = [StandIn(costs, wait_s=0.001) for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        _table(path, group(pi1=devices[0], pi2=devices[1]), interrupt)
    assert no_thread_is_left()
    kept = _raw(path)
    assert sum(one["name"] != ANCHOR for one in kept) >= 30
    table = _table(path, group(pi2=devices[1], pi3=devices[2]))
    raw = _raw(path)
    assert raw[: len(kept)] == kept
    pairs = Counter((one["name"], one["round"]) for one in raw if one["name"] != ANCHOR)
    assert pairs == {(str(layer), number): 1 for layer in LAYERS for number in range(6)}
    assert table.header["devices"] == "pi1, pi2, pi3"
    assert [row.ms for row in table.rows.values()] == pytest.approx(
        [costs[str(layer)] for layer in LAYERS]
    )


@pytest.mark.usefixtures("without_models")
def test_a_single_device_is_stopped_at_once_too(tmp_path: Path) -> None:
    device = StandIn(LayerCosts())

    def interrupt(what: str, n_done: int, n_all: int) -> None:
        if what == "timing" and n_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        _table(tmp_path / "one.csv", device, interrupt)
    # While the error is still on its way, and holds what it went through.
    assert raised.tb is not None and device.n_closed == 1


def test_an_exported_file_is_timed_on_all() -> None:
    costs = {NAME: 3.0, ANCHOR: 0.5}
    devices = group(pi1=StandIn(costs), pi2=StandIn(costs))
    setting = Setting(hardware="raspberry_pi", device=devices, runtime=load_runtime("onnxruntime"))
    arch = SearchSpace.load("tiny").random(seed=0)
    found = time_file(b"", arch, setting, None, n_rounds=4, on_step=ignore)
    assert (found.ms, found.cpu) == (3.0, "Cortex-A76")


@pytest.mark.parametrize("members", [[], ["pi1", "pi1"]])
def test_a_list_names_different_devices(members: list[str]) -> None:
    with pytest.raises(NasError, match=r"hardware.connection.host must name a device or several"):
        load_device("ssh", {"host": members})


def test_each_of_a_list_is_checked() -> None:
    with pytest.raises(NasError, match=r"host must be a name.*'a b'"):
        load_device("ssh", {"host": ["pi1", "a b"]})
    assert isinstance(load_device("adb", {"serial": ["A"], "benchmark_model": "x"}), DeviceGroup)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")
def test_the_command_line_takes_a_list(enter: Enter, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n")
    words = [f"{HOST}=[pi@one,pi@two]", f"hardware.connection.config_file={config}"]
    ended = enter(main, "+hardware=raspberry_pi", "space=tiny", *words)
    assert ended.returncode == 2
    said = " ".join(ended.stderr.split())
    assert "each of 2 devices must answer, but 2 cannot be used" in said
    assert "pi@one: pi@one cannot be reached" in said and "pi@two: pi@two cannot" in said


@pytest.mark.slow
def test_two_phones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_shell, "POLL_S", 0.01)
    monkeypatch.setattr(cooling, "POLL_S", 0.01)
    phones = {}
    for serial in ("A", "B"):
        (tmp_path / serial).mkdir()
        phones[serial] = Phone(tmp_path / serial)
    adb = tmp_path / "adb"
    adb.write_text(
        '#!/bin/sh\nif [ "$1" = devices ]; then\n'
        "printf 'List of devices attached\\nA\\tdevice\\nB\\tdevice\\n\\n'\nexit\nfi\n"
        f'serial=$2; shift 2; exec {tmp_path}/$serial/adb -s PHONE1 "$@"\n'
    )
    adb.chmod(0o755)
    model = phones["A"].benchmark_model
    devices = load_device(
        "adb", {"adb": str(adb), "serial": ["A", "B"], "benchmark_model": str(model)}
    )
    assert devices.facts("litert", 1, ()).n_cores == 8
    job = phone_job({f"model {number}": str(number + 1).encode() for number in range(2)})
    readings = list(devices.time(job, done=(), start_s=0.0, on_step=ignore))
    check_once(readings, job)
    assert {one.device for one in readings} == {"A", "B"}


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[dict[str, Sshd]]:
    """Two ssh servers, each with a home of its own, as two boards have."""
    made = {}
    for name in ("pi1", "pi2"):
        (tmp_path / name).mkdir()
        # Both log in to the same home; each command is moved to one of its server's own.
        home = tmp_path / name / "home"
        forced = f'ForceCommand cd {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
        made[name] = Sshd(tmp_path / name, forced=forced)
    yield made
    for server in made.values():
        server.stop()
        for pid in (server.root / "worker.lock").read_text().split()[:1]:
            if Path(f"/proc/{pid}/cwd").exists() and Path(f"/proc/{pid}/cwd").samefile(server.home):
                os.kill(int(pid), signal.SIGKILL)


def _boards(boards: dict[str, Sshd], folder: Path, **options: object) -> Device:
    config = folder / "ssh_config"
    texts = [
        (server.folder / "ssh_config").read_text().replace("Host board", f"Host {name}")
        for name, server in boards.items()
    ]
    config.write_text("".join(texts))
    first = next(iter(boards.values()))
    given = {"host": [*boards], "config_file": str(config), "folder": "nas-cpu"}
    return load_device("ssh", first.connection(**given | options))


@needs_sshd
@pytest.mark.slow
def test_two_boards_share_a_job_and_one_is_lost(boards: dict[str, Sshd], tmp_path: Path) -> None:
    devices = _boards(boards, tmp_path, give_up_s=1)
    assert isinstance(devices, DeviceGroup)
    assert devices.facts("onnxruntime", 1, ()).cores
    is_cut = False
    job = replace(slow_job(60), models={f"{n}": model(250 + n) for n in range(2)})
    readings, n_second = list[Reading](), 0
    for reading in devices.time(job, done=(), start_s=0.0, on_step=ignore):
        readings.append(reading)
        n_second += reading.device == "pi2"
        if n_second == 5 and not is_cut:
            boards["pi2"].stop()
            is_cut = True
    check_once(readings, job)
    assert is_cut and {one.device for one in readings} == {"pi1", "pi2"}
    assert not [*(boards["pi1"].home / "nas-cpu").glob("readings-*")]
