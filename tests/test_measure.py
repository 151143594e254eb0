"""From layers to a table: kept rows, interruption, kill -9, and wrong files."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas.arch import Layer
from nas.errors import NasError
from nas.latency.devices import Device
from nas.latency.measure import ANCHOR_LAYER, Setting, measure, start_afresh
from nas.latency.modelled import extended, modelled_table
from nas.latency.raw_times import raw_times_path
from nas.latency.readings import ANCHOR
from nas.latency.runtimes import OnnxRuntime
from nas.latency.summary import summary
from nas.latency.table import LatencyTable
from nas.latency.timing import Plan
from nas.space import SearchSpace

LAYERS = SearchSpace.load("tiny").layers()[:6]
PLAN = Plan(n_rounds=3, n_warmups=1, n_runs=2)
SETTING = Setting(
    hardware="host_cpu",
    device=Device(cpu="some CPU", n_cores=2, governor="unknown", clock_mhz="unknown"),
    runtime=OnnxRuntime(),
    threads=1,
    dtype="fp32",
)


def _ignore(stage: str, n_done: int, n_steps: int) -> None:
    pass


def _measure(
    path: Path,
    layers: tuple[Layer, ...] = LAYERS,
    setting: Setting = SETTING,
    on_step: Callable[[str, int, int], None] = _ignore,
) -> LatencyTable:
    return measure(layers, path, setting, PLAN, seed=0, on_step=on_step)


def _raw_lines(path: Path) -> list[str]:
    return raw_times_path(path).read_text().splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "host_cpu.csv"


def test_every_layer_becomes_a_row_with_its_conditions(path: Path) -> None:
    table = _measure(path)
    loaded = LatencyTable.load(path)
    assert tuple(loaded.rows) == LAYERS
    assert loaded.header == table.header
    assert {row.n for row in loaded.rows.values()} == {PLAN.n_rounds * PLAN.n_runs}
    assert all(row.source == "measured" for row in loaded.rows.values())
    assert loaded.header["anchor"] == str(ANCHOR_LAYER)
    assert loaded.header.items() >= SETTING.conditions.items()
    assert SETTING.conditions["cpu"] == "some CPU"
    for key in ("runtime_version", "cores", "governor", "date", "seconds"):
        assert loaded.header[key]
    assert float(loaded.header["anchor_drift_percent"]) >= 0
    raw = [json.loads(line) for line in _raw_lines(path)[1:]]
    assert sum(reading["name"] != ANCHOR for reading in raw) == len(LAYERS) * PLAN.n_rounds


def test_rows_are_kept_and_new_layers_added(path: Path) -> None:
    before = _measure(path, LAYERS[:4])
    after = _measure(path)
    assert [after.rows[layer].ms for layer in LAYERS[:4]] == pytest.approx(
        [before.rows[layer].ms for layer in LAYERS[:4]], abs=1e-6
    )
    assert tuple(after.rows) == LAYERS
    n_lines = len(_raw_lines(path))
    assert _measure(path).rows == LatencyTable.load(path).rows
    assert len(_raw_lines(path)) == n_lines


def test_fresh_measures_all_again(path: Path) -> None:
    _measure(path)
    start_afresh(path)
    assert not path.exists()
    assert not raw_times_path(path).exists()
    start_afresh(path)


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
    table = _measure(path, on_step=lambda *step: steps.append(step))
    assert steps[-1] == ("timing", len(LAYERS) * PLAN.n_rounds - 7, steps[-1][2])
    assert steps[-1][1] == steps[-1][2]
    assert _raw_lines(path)[: len(before)] == before
    assert {row.n for row in table.rows.values()} == {PLAN.n_rounds * PLAN.n_runs}
    at_s = [json.loads(line)["at_s"] for line in _raw_lines(path)[1:]]
    assert at_s == sorted(at_s)


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "hardware must be chosen. Known: .*host_cpu.*python -m nas.latency"),
        (["+hardware=host_cpu", "width=0.5"], "width and resolution scale the network of arch="),
        (["+hardware=host_cpu", "table=a.txt"], "must be the path of a .csv file"),
    ],
)
def test_wrong_options_are_one_screen(words: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas.latency", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) < 10
    assert re.search(message, result.stderr), result.stderr


def test_times_of_other_conditions_are_not_mixed(path: Path) -> None:
    _measure(path)
    other = replace(SETTING, threads=2)
    with pytest.raises(NasError, match=r"threads 2 to be continued, but has '1'.*fresh=true"):
        _measure(path, setting=other)
    path.unlink()
    with pytest.raises(NasError, match=r"raw.jsonl must be measured with threads 2"):
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
    first = json.dumps({"version": "1", **SETTING.conditions})
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
