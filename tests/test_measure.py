"""From layers to a table: kept rows, interruption, kill -9, and wrong files."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from conftest import Enter

from nas.arch import Layer
from nas.errors import NasError
from nas.latency.__main__ import main
from nas.latency.check import Check, check_path
from nas.latency.correction import Correction
from nas.latency.devices.contract import Facts
from nas.latency.devices.local import LocalDevice
from nas.latency.measure import Setting, measure, start_afresh
from nas.latency.modelled import extended, modelled_table
from nas.latency.raw_times import raw_times_path
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Clock, Plan, Reading, time_rounds
from nas.latency.runtimes import export
from nas.latency.runtimes.registry import load_runtime
from nas.latency.session import ANCHOR_LAYER
from nas.latency.subjects import Probes, choose_probes
from nas.latency.summary import summary
from nas.latency.table import LatencyTable
from nas.report.table_page import report_path
from nas.space import SearchSpace
from nas.steps import OnStep

TINY = SearchSpace.load("tiny")
LAYERS = TINY.layers()[:6]
PLAN = Plan(n_rounds=4, n_warmups=1, n_runs=2)
SETTING = Setting(hardware="host_cpu", device=LocalDevice(), runtime=load_runtime("onnxruntime"))
NO_PROBES = Probes()
FACTS = SETTING.facts()
CONDITIONS = SETTING.conditions(FACTS)


class MadeDevice:
    """A device without noise: layers cost what a rule says, networks 1.2 times their sum."""

    def __init__(self, pace: float = 1.0) -> None:
        self.pace = pace
        self.timed: list[str] = []
        self._now_ns = 0

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        return FACTS

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        self.timed += [name for name in job.models if (name, 0) not in done]
        runs = {name: self._run(name) for name in job.models}
        anchor = self._run(str(ANCHOR_LAYER))
        clock = Clock(lambda: self._now_ns, lambda: 0)
        return time_rounds(runs, anchor, job.plan, seed=0, done=done, start_s=start_s, clock=clock)

    def forget(self) -> None:
        pass

    def _run(self, name: str) -> Callable[[], None]:
        cost_ns = round(self.pace * 1e6 * WHOLE_MS[name])

        def run() -> None:
            self._now_ns += cost_ns

        return run


def layer_ms(layer: Layer) -> float:
    return 0.1 + layer.in_channels * layer.size / 1000


class Costs(dict[str, float]):
    """What each subject costs; layers and chains by their text, networks as they are entered."""

    def __missing__(self, name: str) -> float:
        return sum(layer_ms(Layer.parse(text)) for text in name.split(" | "))


WHOLE_MS = Costs()


def _ignore(stage: str, n_done: int, n_steps: int) -> None:
    pass


def _measure(
    path: Path,
    layers: tuple[Layer, ...] = LAYERS,
    setting: Setting = SETTING,
    on_step: OnStep = _ignore,
    probes: Probes = NO_PROBES,
) -> LatencyTable:
    return measure(layers, probes, path, setting, PLAN, seed=0, on_step=on_step)


def _on(device: MadeDevice) -> Setting:
    return replace(SETTING, device=device)


def _probes(n_calibration: int, n_check: int) -> Probes:
    probes = choose_probes([TINY], [], n_calibration=n_calibration, n_check=n_check, seed=0)
    for probe in probes.all:
        if probe.is_network:
            WHOLE_MS[probe.name] = 1.2 * sum(map(layer_ms, probe.layers))
    return probes


def _raw_lines(path: Path) -> list[str]:
    return raw_times_path(path).read_text().splitlines()


# A file is the same however often it is made.
_made_once = lru_cache(maxsize=None)(export._export)


@pytest.fixture(autouse=True)
def each_model_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_export", _made_once)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "host_cpu.csv"


def test_every_layer_becomes_a_row_with_its_conditions(path: Path) -> None:
    table = _measure(path)
    loaded = LatencyTable.load(path)
    assert tuple(loaded.rows) == LAYERS
    assert loaded.header == table.header
    assert min(row.n for row in loaded.rows.values()) >= PLAN.n_rounds * PLAN.n_runs
    assert all(row.source == "measured" for row in loaded.rows.values())
    assert loaded.header["anchor"] == str(ANCHOR_LAYER)
    assert loaded.header.items() >= CONDITIONS.items()
    for key in ("runtime_version", "cores", "governor", "date", "seconds"):
        assert loaded.header[key]
    assert float(loaded.header["anchor_drift_percent"]) >= 0
    raw = [json.loads(line) for line in _raw_lines(path)[1:]]
    first_pass = [one for one in raw if one["name"] != ANCHOR and one["round"] in PLAN.rounds]
    assert len(first_pass) == len(LAYERS) * PLAN.n_rounds


def test_rows_are_kept_and_new_layers_added(path: Path) -> None:
    before = _measure(path, LAYERS[:4])
    n_lines = len(_raw_lines(path))
    after = _measure(path)
    assert [after.rows[layer].ms for layer in LAYERS[:4]] == pytest.approx(
        [before.rows[layer].ms for layer in LAYERS[:4]], abs=1e-6
    )
    assert tuple(after.rows) == LAYERS
    assert len(_raw_lines(path)) == n_lines
    assert raw_times_path(path, 1).name == "host_cpu.raw-2.jsonl"
    assert raw_times_path(path, 1).exists()
    assert _measure(path).rows == LatencyTable.load(path).rows
    assert after.header["sessions"] == "2"
    assert not raw_times_path(path, 2).exists()


def test_a_later_day_is_brought_to_the_pace_of_the_first(path: Path) -> None:
    _measure(path, LAYERS[:4], _on(MadeDevice()))
    device = MadeDevice(pace=1.7)
    table = _measure(path, LAYERS, _on(device))
    assert set(device.timed) == set(map(str, LAYERS))
    for layer in LAYERS:
        assert table.rows[layer].ms == pytest.approx(layer_ms(layer), rel=1e-3)


@pytest.mark.slow
def test_fresh_measures_all_again(path: Path) -> None:
    _measure(path, TINY.layers(), _on(MadeDevice()), probes=_probes(4, 4))
    _measure(path, (*TINY.layers(), ANCHOR_LAYER), _on(MadeDevice()))
    assert len(list(path.parent.iterdir())) == 5
    start_afresh(path)
    assert not list(path.parent.iterdir())
    start_afresh(path)


@pytest.mark.slow
def test_networks_correct_the_rows_and_check_them(path: Path) -> None:
    probes = _probes(20, 15)
    table = _measure(path, TINY.layers(), _on(MadeDevice()), probes=probes)
    for probe in probes.unseen:
        assert sum(table.rows[x].ms for x in probe.layers) == pytest.approx(
            WHOLE_MS[probe.name], rel=0.02
        )
    assert all(
        row.isolated_ms == pytest.approx(layer_ms(layer), rel=1e-3)
        for layer, row in table.rows.items()
    )
    loaded = LatencyTable.load(path)
    assert loaded.header == table.header
    assert Correction.parse(loaded.header["correction"]).scale == pytest.approx(0.2, abs=0.05)
    assert loaded.header["check_networks"] == "15"
    assert float(loaded.header["check_mean_error_percent"]) < 2
    checked = Check.load(check_path(path))
    assert [one.name for one in checked.networks] == [one.name for one in probes.unseen]
    assert all(one.first_ms == one.measured_ms for one in checked.networks)
    assert "how far" in report_path(path).read_text().lower() or checked.verdict()


@pytest.mark.slow
def test_a_check_sees_what_is_wrong(path: Path) -> None:
    table = _measure(path, TINY.layers(), _on(MadeDevice()), probes=_probes(0, 15))
    assert "correction" not in table.header
    assert float(table.header["check_bias_percent"]) == pytest.approx(100 / 1.2 - 100, abs=0.1)
    assert {row.ms for row in table.rows.values()} == {
        row.isolated_ms for row in table.rows.values()
    }


@pytest.mark.slow
def test_a_finished_table_can_be_checked_again(path: Path) -> None:
    before = _measure(path, TINY.layers(), _on(MadeDevice()), probes=_probes(20, 15))
    device = MadeDevice(pace=1.3)
    again = _measure(path, TINY.layers(), _on(device), probes=_probes(0, 5))
    assert again.rows == LatencyTable.load(path).rows
    assert [row.ms for row in again.rows.values()] == pytest.approx(
        [row.ms for row in before.rows.values()], abs=1e-6
    )
    assert again.header["check_networks"] == "5"
    assert float(again.header["check_mean_error_percent"]) < 2
    assert again.header["correction"] == before.header["correction"]


@pytest.mark.slow
def test_a_new_layer_gets_the_correction_of_the_table(path: Path) -> None:
    probes = _probes(20, 0)
    known = TINY.layers()
    _measure(path, known, _on(MadeDevice()), probes=probes)
    table = _measure(path, (*known, ANCHOR_LAYER), _on(MadeDevice(pace=1.4)))
    row = table.rows[ANCHOR_LAYER]
    assert row.isolated_ms == pytest.approx(layer_ms(ANCHOR_LAYER), rel=1e-3)
    assert row.isolated_ms
    correction = Correction.parse(table.header["correction"])
    assert row.ms == pytest.approx(correction.apply(ANCHOR_LAYER, row.isolated_ms))
    assert row.ms > 1.1 * row.isolated_ms
    assert row.std_ms


def test_the_anchor_may_be_a_row_too(path: Path) -> None:
    table = _measure(path, (ANCHOR_LAYER,), _on(MadeDevice()))
    assert table.rows[ANCHOR_LAYER].n == PLAN.n_rounds * PLAN.n_runs


def test_rows_that_disagree_are_timed_again(path: Path) -> None:
    class Jumping(MadeDevice):
        """Every other visit to the first layer takes half as long again."""

        def _run(self, name: str) -> Callable[[], None]:
            steady = super()._run(name)
            if name != str(LAYERS[0]):
                return steady
            runs = iter(range(10**6))

            def run() -> None:
                steady()
                if next(runs) // (PLAN.n_warmups + PLAN.n_runs) % 2:
                    self._now_ns += round(0.5e6 * layer_ms(LAYERS[0]))

            return run

    steps: list[tuple[str, int, int]] = []
    table = _measure(path, setting=_on(Jumping()), on_step=lambda *step: steps.append(step))
    n_first = PLAN.n_rounds * PLAN.n_runs
    assert table.rows[LAYERS[0]].n == n_first + PLAN.n_rounds // 2 * PLAN.n_runs
    assert {table.rows[layer].n for layer in LAYERS[1:]} == {n_first}
    assert ("timing again", 2, 2) in steps


def test_an_interrupted_run_goes_on_with_what_it_has(path: Path) -> None:
    def interrupt(stage: str, n_done: int, n_steps: int) -> None:
        if stage == "timing" and n_done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _measure(path, on_step=interrupt)
    assert not path.exists()
    before = _raw_lines(path)
    # A power cut may end the file in the middle of a line.
    with raw_times_path(path).open("a") as file:
        file.write('{"name": "mb k3')
    steps: list[tuple[str, int, int]] = []
    _measure(path, on_step=lambda *step: steps.append(step))
    timed = [step for step in steps if step[0] == "timing"]
    assert timed[-1] == ("timing", len(LAYERS) * PLAN.n_rounds - 7, timed[-1][2])
    assert timed[-1][1] == timed[-1][2]
    assert _raw_lines(path)[: len(before)] == before
    visits = [json.loads(line) for line in _raw_lines(path)[1:]]
    pairs = [(one["name"], one["round"]) for one in visits if one["name"] != ANCHOR]
    assert len(pairs) == len(set(pairs))
    at_s = [one["at_s"] for one in visits]
    assert at_s == sorted(at_s)


@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path: Path) -> None:
    arch = SearchSpace.load("tiny").random(seed=0)
    arch.save(tmp_path / "a.yaml")
    words = ["+hardware=host_cpu", "arch=a.yaml", "table=own.csv", "warmups=0", "runs=1"]
    command = [sys.executable, "-m", "nas.latency", *words]
    raw = tmp_path / "own.raw.jsonl"
    process = subprocess.Popen([*command, "rounds=10000"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (raw.exists() and raw.stat().st_size > 20_000) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "own.csv").exists()
    kept = raw.read_text().rpartition("\n")[0].splitlines()
    assert len(kept) > 100
    result = subprocess.run(
        [*command, "rounds=40"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert raw.read_text().splitlines()[: len(kept)] == kept
    table = LatencyTable.load(tmp_path / "own.csv")
    assert not table.missing(arch)
    assert all(row.n >= 40 for row in table.rows.values())
    assert "python -m nas.search +hardware=host_cpu table=own.csv" in result.stdout


# The baselines, which would be exported anew at each start, stay away where a network is named.
TINY_TABLE = [
    "+hardware=host_cpu",
    "space=tiny",
    "arch=a.yaml",
    "table=own.csv",
    "runs=2",
    "calibrate=6",
    "check=4",
]


def _check_whole(folder: Path, kept: list[str]) -> None:
    """Assert that the table is complete, and that no visit was made twice or lost."""
    lines = (folder / "own.raw.jsonl").read_text().splitlines()
    assert lines[: len(kept)] == kept
    visits = [(one["name"], one["round"]) for one in map(json.loads, lines[1:])]
    visits = [visit for visit in visits if visit[0] != ANCHOR]
    assert len(visits) == len(set(visits))
    table = LatencyTable.load(folder / "own.csv")
    assert not table.missing(TINY)
    assert table.header["check_networks"] == "4"
    assert len(Check.load(folder / "own.check.csv").networks) == 4


@pytest.mark.long
@pytest.mark.slow
def test_five_kills_at_random_moments_cost_nothing(tmp_path: Path) -> None:
    TINY.random(seed=0).save(tmp_path / "a.yaml")
    # Seconds of timing, of which each start gets a tenth of one at most.
    command = [sys.executable, "-m", "nas.latency", *TINY_TABLE, "rounds=100"]
    raw, rng, kept = tmp_path / "own.raw.jsonl", random.Random(0), list[str]()
    for _ in range(5):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        n_bytes = raw.stat().st_size if raw.exists() else 0
        until = time.monotonic() + 60
        # Into the timing, and then on for a random while.
        while process.poll() is None and time.monotonic() < until:
            if raw.exists() and raw.stat().st_size > n_bytes + 200:
                time.sleep(rng.uniform(0, 0.1))
                break
            time.sleep(0.01)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if raw.exists():
            whole = raw.read_text().rpartition("\n")[0].splitlines()
            assert whole[: len(kept)] == kept
            kept = whole
    assert len(kept) > 5
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    _check_whole(tmp_path, kept)


@pytest.mark.slow
def test_a_full_disk_costs_nothing(tmp_path: Path) -> None:
    TINY.random(seed=0).save(tmp_path / "a.yaml")
    command = " ".join([shlex.quote(sys.executable), "-m nas.latency", *TINY_TABLE, "rounds=6"])
    # In place of a small disk: no file may grow beyond so many KiB.
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f 40; {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 2
    assert "own.raw.jsonl cannot be written" in full.stderr
    assert "the same command goes on" in " ".join(full.stderr.split())
    assert not (tmp_path / "own.csv").exists()
    kept = (tmp_path / "own.raw.jsonl").read_text().rpartition("\n")[0].splitlines()
    assert len(kept) > 50
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    _check_whole(tmp_path, kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+hardware=pixel_cpu", "runtime=litert"], "runtime=litert belongs to hardware that is"),
        (["+hardware=host_cpu", "runtime=litrt"], "unknown runtime 'litrt'. Did you mean litert"),
        (["+hardware=host_cpu", "dtype=int4"], "unknown dtype of runtime onnxruntime"),
        (["+hardware=host_cpu", "rounds=1"], "rounds must be an integer from 2"),
        (["+hardware=host_cpu", "check=-1"], "check must be an integer from 0"),
        (["+hardware=host_cpu", "hardware.cores=[999]"], "cores must be among"),
        (["+hardware=host_cpu", "hardware.device=usb"], "unknown device 'usb'"),
        (["+hardware=raspberry_pi"], "hardware.connection.host=pi@raspberrypi.local"),
        (["+hardware=android_phone"], "benchmark_model"),
        ([], "hardware must be chosen. Known: .*host_cpu.*python -m nas.latency"),
        (
            ["+hardware=host_cpu", "width=0.5"],
            "width, resolution and ablate change the network of arch=",
        ),
        (["+hardware=host_cpu", "table=a.txt"], "must be the path of a .csv file"),
    ],
)
def test_wrong_options_are_one_screen(words: list[str], message: str, enter: Enter) -> None:
    ended = enter(main, *words)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) < 10
    assert re.search(message, ended.stderr), ended.stderr


def test_times_of_other_conditions_are_not_mixed(path: Path) -> None:
    _measure(path)
    other = replace(SETTING, runtime=load_runtime("onnxruntime", "int8"))
    with pytest.raises(NasError, match=r"must be measured with mode u8s8.*fresh=true"):
        _measure(path, setting=other)
    path.unlink()
    with pytest.raises(NasError, match=r"raw.jsonl must be measured with mode u8s8"):
        _measure(path, setting=other)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2 is not readable JSON"),
        ("[1]", "line 2 must be a JSON object"),
        ('{"name": "a"}', "line 2 must hold name, round, at_s and times_ms"),
        ('{"name": "a", "round": 0, "at_s": 0, "times_ms": []}', "numbers of at least 0"),
        ('{"name": "a", "round": 0, "at_s": 0, "times_ms": [NaN]}', "numbers of at least 0"),
        ('{"name": "a", "round": 0, "at_s": 0, "times_ms": [-1]}', "numbers of at least 0"),
        ('{"name": "a", "round": "0", "at_s": 0, "times_ms": [1]}', "numbers of at least 0"),
    ],
)
def test_broken_raw_times_are_named(path: Path, line: str, message: str) -> None:
    first = json.dumps({"version": "1", **CONDITIONS})
    raw_times_path(path).write_text(f"{first}\n{line}\n")
    with pytest.raises(NasError, match=message):
        _measure(path)


class PerChannel:
    """A cost model with a known answer."""

    def predict_many_ms(self, layers: object) -> list[float]:
        assert isinstance(layers, (list, tuple))
        return [layer.out_channels / 100 for layer in layers]


def test_modelled_rows_come_from_the_cost_model(path: Path) -> None:
    table = modelled_table("phone", [*LAYERS, LAYERS[0]], PerChannel(), {"device": "phone"})
    table.save(path)
    loaded = LatencyTable.load(path)
    assert loaded.header == {"version": "1", "device": "phone"}
    assert [row.ms for row in loaded.rows.values()] == [x.out_channels / 100 for x in LAYERS]
    assert {row.source for row in loaded.rows.values()} == {"modelled"}


def test_a_modelled_table_keeps_its_rows_when_extended(path: Path) -> None:
    table = modelled_table("phone", LAYERS[:2], PerChannel(), {"device": "phone"})
    assert extended(table, LAYERS[:2], PerChannel()) is table
    longer = extended(table, LAYERS, PerChannel())
    assert tuple(longer.rows) == LAYERS
    assert longer.header == table.header


def test_the_summary_names_the_slowest_layers_and_the_trust(path: Path) -> None:
    names = [name for name, _ in summary(_measure(path))]
    assert names[:2] == ["rows", "slowest layer"]
    assert {"median IQR / ms", "anchor drift"} <= set(names)
    modelled = modelled_table("phone", LAYERS, PerChannel(), {})
    assert "median IQR / ms" not in dict(summary(modelled))
