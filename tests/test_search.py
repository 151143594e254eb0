"""The search command: its files, its errors, and what survives a kill."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.objective import pareto_front
from nas.paths import SHIPPED
from nas.search.__main__ import main
from nas.space import SearchSpace

SLOW = pytest.mark.slow
OBJECTIVES = ("reward", "absolute", "constraint", "pareto")
SAMPLERS = ("regularized_evolution", "nsga2", "tpe", "random")
Command = Callable[..., tuple[int, str, str]]
QUICK = ("+hardware=pixel_cpu", "n_trials=60", "hydra.run.dir=run")


@pytest.fixture
def search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command in this process, in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas.search", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nas.search", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_trials(folder: Path, n_trials: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        journal = folder / "run/study.journal"
        if journal.exists() and journal.read_bytes().count(b'"op_code":4') >= n_trials:
            return
        time.sleep(0.05)
    raise TimeoutError(f"fewer than {n_trials} trials after a minute")


def journalled(folder: Path, study: str) -> list[str]:
    storage = JournalStorage(JournalFileBackend(str(folder / "run/study.journal")))
    trials = optuna.load_study(storage=storage, study_name=study).trials
    return [trial.user_attrs["key"] for trial in trials]


def in_csv(folder: Path, study: str) -> list[str]:
    rows = read_csv(folder / "run/trials.csv")
    return [row["key"] for row in rows if row["study"] == study]


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_file_of_the_run_folder(search: Command, tmp_path: Path) -> None:
    status, out, err = search(*QUICK)
    assert (status, err) == (0, "")
    run = tmp_path / "run"
    table = LatencyTable.load("pixel_cpu")
    compared = {row["name"]: row for row in read_csv(run / "comparison.csv")}
    for study in ("large", "small"):
        winner = Arch.load(run / f"winners/{study}.yaml")
        row = compared[study]
        assert row["key"] == winner.key()
        assert float(row["ms"]) == pytest.approx(table.predict_ms(winner), rel=1e-5)
        assert table.predict_ms(winner) <= table.predict_ms(Arch.load(f"mobilenet_v3_{study}"))
        front = sorted((run / "winners/pareto").glob(f"{study}_*.yaml"))
        assert len(front) == len(pareto_front(*_figures(run, study)))
        assert journalled(tmp_path, study) == in_csv(tmp_path, study)
        assert len(in_csv(tmp_path, study)) == 60
    assert {"mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mnasnet_a1"} <= set(compared)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["search"]["seed"] == 0
    assert environment["packages"]["optuna"] == optuna.__version__
    assert (run / ".hydra/config.yaml").exists()
    assert "<html" in (run / "report.html").read_text()
    assert "all in table pixel_cpu" in out
    assert "report" in out


def _figures(run: Path, study: str) -> tuple[list[float], list[float]]:
    rows = [row for row in read_csv(run / "trials.csv") if row["study"] == study]
    risk = 0.25
    ms = [float(row["ms"]) for row in rows]
    return ms, [float(row["top1"]) - risk * float(row["top1_std"]) for row in rows]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials(search: Command, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert search("hardware=pixel_cpu", "n_trials=40", f"hydra.run.dir={folder}")[0] == 0
    one, two = (
        [line.split(",")[:6] for line in (tmp_path / f"{name}/trials.csv").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert one == two


@pytest.mark.slow
def test_more_trials_continue_a_finished_run(search: Command, tmp_path: Path) -> None:
    assert search(*QUICK)[0] == 0
    before = {study: in_csv(tmp_path, study) for study in ("large", "small")}
    status, out, _ = search("+hardware=pixel_cpu", "n_trials=80", "hydra.run.dir=run")
    assert status == 0
    assert "going on from 120 finished trials" in out
    for study, keys in before.items():
        assert in_csv(tmp_path, study)[:60] == keys
        assert len(in_csv(tmp_path, study)) == len(journalled(tmp_path, study)) == 80


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_a_search_cut_short_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    options = ("+hardware=pixel_cpu", "n_trials=250", "hydra.run.dir=run")
    kept: list[str] = []
    for n_trials in (40, 120, 300):
        process = start(tmp_path, *options)
        wait_for_trials(tmp_path, n_trials)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-how if how == signal.SIGKILL else 130), err
        finished = journalled(tmp_path, "large")
        assert finished[: len(kept)] == kept
        kept = finished
        assert (tmp_path / "run/winners/large.yaml").exists()
    process = start(tmp_path, *options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    for study in ("large", "small"):
        assert len(journalled(tmp_path, study)) == 250
        assert journalled(tmp_path, study) == in_csv(tmp_path, study)
    assert journalled(tmp_path, "large")[: len(kept)] == kept
    assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "sampler"),
    [
        pair if pair[0] == "reward" or pair[1] == "nsga2" else pytest.param(*pair, marks=SLOW)
        for pair in product(OBJECTIVES, SAMPLERS)
    ],
)
def test_every_objective_with_every_sampler(
    search: Command, tmp_path: Path, objective: str, sampler: str
) -> None:
    status, _, err = search(
        "+hardware=pixel_cpu",
        "targets=[small]",
        "n_trials=12",
        f"objective={objective}",
        f"sampler={sampler}",
        "hydra.run.dir=run",
    )
    assert (status, err) == (0, "")
    assert (tmp_path / "run/winners/small.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("space", "needs_target"), [("tiny", True), ("mnasnet", False)])
def test_another_space(search: Command, tmp_path: Path, space: str, needs_target: bool) -> None:
    low, high = LatencyTable.load("pixel_cpu").bounds_ms(SearchSpace.load(space))
    target = [f"target_ms={(low + high) / 2}"] if needs_target else []
    options = ("+hardware=pixel_cpu", f"space={space}", "n_trials=12", "hydra.run.dir=run")
    assert search(*options, *target)[0] == 0
    assert (tmp_path / f"run/winners/{space}.yaml").exists()


WRONG_OPTIONS = [
    ([], ["hardware must be chosen", "pixel_cpu", "host_cpu", "+hardware=pixel_cpu"]),
    (["+hardware=pixle_cpu"], ["unknown hardware 'pixle_cpu'", "Did you mean pixel_cpu"]),
    (["space=mobilenet_v4"], ["'mobilenet_v4'", "mobilenet_v3_large"]),
    (["sampler=cmaes"], ["unknown sampler 'cmaes'", "regularized_evolution"]),
    (["proxy=oracle"], ["unknown proxy 'oracle'", "surrogate"]),
    (["objective=best"], ["unknown objective 'best'", "pareto"]),
    (["n_trails=5"], ["unknown option 'n_trails'", "Did you mean n_trials"]),
    (["sampler.popsize=5"], ["unknown option 'sampler.popsize'", "sampler.population_size"]),
    (["n_trials=many"], ["n_trials", "'many'", "Integer"]),
    (["n_trials=0"], ["n_trials must be from 1", "is 0"]),
    (["seed=-1"], ["seed must be from 0", "is -1"]),
    (["targets=[]"], ["targets must name", "is empty"]),
    (["targets=[medium]"], ["unknown target 'medium'", "large, small"]),
    (["target_ms=0.01"], ["target_ms must be from", "0.01"]),
    (["target_ms=99999"], ["target_ms must be from", "99999"]),
    (["target_ms=nan"], ["target_ms must be from", "nan"]),
    (["objective.exponent=0.07"], ["exponent must be from -10 to 0", "0.07"]),
    (["objective=absolute", "objective.beta=1"], ["beta must be below 0", "1"]),
    (["sampler.tournament_size=100"], ["tournament_size=100, population_size=64"]),
    (["space=tiny"], ["target_ms= must be given", "Try target_ms="]),
    (["table=missing.csv"], ["missing.csv", "must be a file"]),
    (["table=pixel9"], ["pixel9", "pixel_cpu"]),
    (["hydra.run.dir=/proc/run"], ["/proc/run"]),
    (["=5"], ["=5"]),
    (["hardware={name: x}"], ["hardware.table must be", "None"]),
    (["hardware.table=[1]"], ["hardware.table must be", "[1]"]),
    (["hardware.table=none"], ["has no latency_tables/none.csv", "python -m nas.latency"]),
    (["targets=[[large]]"], ["unknown target", "large"]),
    (["sampler.n_trials=x"], ["sampler.n_trials must be an integer", "'x'"]),
    (["~sampler.n_trials"], ["sampler.n_trials must be an integer", "None"]),
    (["proxy.risk=true"], ["proxy.risk must be from 0", "True"]),
    (["proxy.name_or_path=/dev/zero"], ["/dev/zero must be a file"]),
    (["proxy._target_=builtins.dict"], ["proxy surrogate must have `predict`", "a dict"]),
    (["sampler._target_=builtins.dict"], ["must have `before_trial`", "_target_"]),
    (["~objective._target_"], ["objective reward must name what to make in `_target_`"]),
    (["sampler=tpe", "sampler.n_startup_trials=x"], ["sampler tpe fails", "'str'"]),
    (["space=" + "x/" * 3000], ["must be a file"]),
    (["study=mine"], ["study= names what commands share", "Add storage="]),
    (["storage=sqlite:///a.db", "study=a/b"], ["study must be 1 to 100 letters", "'a/b'"]),
    (["storage_wait_s=-1"], ["storage_wait_s must be from 0", "is -1"]),
    (["storage=nowhere://a/b"], ["storage must be postgresql://", "nowhere://a/b"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "words"), WRONG_OPTIONS, ids=lambda value: str(value[:1]))
def test_wrong_options_end_as_one_screen(
    search: Command, options: list[str], words: list[str]
) -> None:
    is_chosen = not options or options[0].lstrip("+").startswith("hardware=")
    chosen = [] if is_chosen else ["+hardware=pixel_cpu"]
    status, _, err = search(*chosen, "n_trials=5", *options)
    assert status == 2
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert len(err.splitlines()) < 20
    assert len(err) < 2000


WRONG_TABLES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "missing row": (lambda lines: lines[:60], "has no row for"),
    "duplicate row": (lambda lines: [*lines, lines[-1]], "a layer may have one row"),
    "negative": (lambda lines: [*lines[:-1], _with_ms(lines[-1], "-1")], "is '-1'"),
    "NaN": (lambda lines: [*lines[:-1], _with_ms(lines[-1], "nan")], "is 'nan'"),
    "text": (lambda lines: [*lines[:-1], _with_ms(lines[-1], "fast")], "is 'fast'"),
    "short row": (lambda lines: [*lines[:-1], lines[-1][:20]], "cells"),
    "no header": (lambda lines: [x for x in lines if x[0] != "#"], "version"),
    "empty": (lambda lines: [], "version"),
}


def _with_ms(line: str, ms: str) -> str:
    cells = line.split(",")
    cells[-4] = ms
    return ",".join(cells)


@pytest.mark.slow
@pytest.mark.parametrize("fault", WRONG_TABLES)
def test_wrong_tables_end_as_one_screen(search: Command, tmp_path: Path, fault: str) -> None:
    damage, words = WRONG_TABLES[fault]
    lines = (SHIPPED / "latency_tables/pixel_cpu.csv").read_text().splitlines()
    (tmp_path / "mine.csv").write_text("\n".join(damage(lines)) + "\n")
    status, _, err = search("+hardware=pixel_cpu", "n_trials=5", "table=mine.csv")
    assert status == 2
    assert words in err
    assert "mine" in err
    assert len(err.splitlines()) < 20


@pytest.mark.parametrize(
    ("option", "words"), [("seed=1", "seed 0, not 1"), ("targets=[small]", "not without large")]
)
@pytest.mark.slow
def test_another_search_does_not_continue_a_folder(
    search: Command, option: str, words: str
) -> None:
    assert search("+hardware=pixel_cpu", "n_trials=5", "hydra.run.dir=run")[0] == 0
    status, _, err = search("+hardware=pixel_cpu", "n_trials=9", "hydra.run.dir=run", option)
    assert status == 2
    assert words in err
    assert "hydra.run.dir=" in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no limits on files")
def test_a_full_disk_keeps_what_is_finished(search: Command, tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, limits[1]))
    try:
        status, _, err = search(*QUICK, "n_trials=300")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2
    assert "study.journal cannot be written: File too large. The trials in it are kept." in err
    assert len(err.splitlines()) == 1
    kept = in_csv(tmp_path, "large")
    assert len(kept) > 20
    assert search(*QUICK, "n_trials=300")[0] == 0
    assert in_csv(tmp_path, "large")[: len(kept)] == kept
    for study in ("large", "small"):
        assert len(in_csv(tmp_path, study)) == len(journalled(tmp_path, study)) == 300


def test_names_with_markup_are_shown_as_they_are(search: Command, tmp_path: Path) -> None:
    text = (SHIPPED / "search_spaces/mobilenet_v3_small.yaml").read_text()
    own = text.replace("name: mobilenet_v3_small", "name: '[/]:key:[red]'")
    (tmp_path / "[b]x.yaml").write_text(own)
    options = ("+hardware=pixel_cpu", "n_trials=2", "hydra.run.dir='[/]run:key:'")
    status, out, err = search(*options, "space='[b]x.yaml'")
    assert (status, err) == (0, "")
    for words in ("networks ([/]:key:[red])", "[/]run:key:/winners/[b]x.yaml"):
        assert words in out


@pytest.mark.slow
def test_a_damaged_journal_is_named(search: Command, tmp_path: Path) -> None:
    assert search("+hardware=pixel_cpu", "n_trials=5", "hydra.run.dir=run")[0] == 0
    journal = tmp_path / "run/study.journal"
    lines = journal.read_text().splitlines()
    lines[3] = "garbage"
    journal.write_text("\n".join(lines) + "\n")
    status, _, err = search("+hardware=pixel_cpu", "n_trials=9", "hydra.run.dir=run")
    assert status == 2
    assert "line 4" in err


@pytest.mark.slow
def test_a_users_own_space_table_and_hardware(search: Command, tmp_path: Path) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "latency_tables").mkdir()
    (tmp_path / "conf/hardware").mkdir(parents=True)
    shutil.copy(
        SHIPPED / "search_spaces/mobilenet_v3_small.yaml", tmp_path / "search_spaces/my.yaml"
    )
    shutil.copy(SHIPPED / "latency_tables/pixel_cpu.csv", tmp_path / "latency_tables/my_phone.csv")
    hardware = (SHIPPED / "conf/hardware/pixel_cpu.yaml").read_text()
    (tmp_path / "conf/hardware/my_phone.yaml").write_text(hardware.replace("pixel_cpu", "my_phone"))
    status, out, _ = search("+hardware=my_phone", "space=my", "n_trials=8", "hydra.run.dir=run")
    assert status == 0
    assert "in table my_phone" in out
    assert (tmp_path / "run/winners/my.yaml").exists()


def test_a_table_that_holds_the_space_alone_is_enough(search: Command, tmp_path: Path) -> None:
    table = LatencyTable.load("pixel_cpu")
    layers = SearchSpace.load("tiny").layers()
    rows = {layer: table.rows[layer] for layer in layers}
    replace(table, rows=rows).save(tmp_path / "mine.csv")
    target = f"target_ms={sum(table.bounds_ms(SearchSpace.load('tiny'))) / 2}"
    options = ("+hardware=pixel_cpu", "space=tiny", "table=mine.csv", "n_trials=8", target)
    status, out, err = search(*options, "hydra.run.dir=run")
    assert (status, err) == (0, "")
    assert "not in the table, so not compared" in out
    assert [row["name"] for row in read_csv(tmp_path / "run/comparison.csv")] == ["tiny"]
