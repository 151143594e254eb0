"""Sweeps of trainings: the same figures whoever trains them, and what one that fails costs."""

import json
import os
import re
import signal
import sys
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from conftest import Enter
from omegaconf import OmegaConf
from rich.console import Console
from safetensors.torch import load_file
from test_train import QUICK, SMALL
from training_data import patterns

from nas.errors import NasError
from nas.text import read_json
from nas.train import sweep
from nas.train.__main__ import main
from nas.train.comparison import rows_of
from nas.train.settings import TrainSettings
from nas.train.showing_sweep import SweepShow
from nas.train.sweep import Wanted, labels, n_threads, train_sweep
from nas.train.telling import hear, telling
from nas.train.together import train_together
from nas.train.training import Training, prepared, train
from nas.train.worker import training as work_of
from nas.training.full.watching import EpochRow, Watch
from nas.workers.automatic import Automatic
from nas.workers.contract import Staff, Task
from nas.workers.crew import Crew
from nas.workers.local import Local, LocalWorkers
from nas.workers.processes import Processes
from nas.workers.ray_cluster import RayCluster

DATA = {"_target_": "training_data.patterns", "n_train": 64}
RECIPE = {"epochs": 2, "batch_size": 32, "learning_rate": 0.05, "flip": False}
FILES = ("best", "last", "state")


def ready(folder: Path, **changes: Any) -> Training:
    """Return a training of a small network that takes a fraction of a second."""
    (folder.parent / "small.yaml").write_text(SMALL)
    given: dict[str, Any] = {"recipe": RECIPE, "data": DATA, "device": "cpu", "threads": 1}
    arch = str(folder.parent / "small.yaml")
    settings = TrainSettings(**{**given, "arch": arch, "seed": 3, **changes})
    words = ("arch=small.yaml", "seed=3", "threads=1", "workers.n=2")
    return prepared(settings, folder, words, lambda _: patterns(n_train=64))


def shown() -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, width=400), text


def assert_same(one: Path, other: Path) -> None:
    """Compare what two trainings left but for the time that they took."""
    for name in FILES:
        first, second = (load_file(folder / f"{name}.safetensors") for folder in (one, other))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    first, second = (read_json(folder / "metrics.json") for folder in (one, other))
    timed = {"seconds", "seconds_per_epoch", "images_per_second", "data_percent", "inference_ms"}
    assert {key: first[key] for key in first.keys() - timed} == {
        key: second[key] for key in second.keys() - timed
    }


def test_a_worker_trains_from_plain_text_what_this_process_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the work goes to its folder too
    here, there = ready(tmp_path / "here"), ready(tmp_path / "there")
    console, _ = shown()
    show = SweepShow(console, ["0"], lambda what, done, total: None)
    assert train_together({0: here}, Local(), show, "local") == {}
    heard: list[Any] = []
    work = work_of({"folder": str(tmp_path)})
    metrics = work(json.loads(json.dumps(there.plain())), heard.append)
    assert metrics == read_json(tmp_path / "there" / "metrics.json")
    assert metrics["options"] == "threads=1"
    assert_same(tmp_path / "here", tmp_path / "there")
    assert [one["epoch"]["epoch"] for one in heard if "epoch" in one] == [1, 2]
    begun = (tmp_path / "there" / "metrics.csv").read_bytes()
    assert work(there.plain(), heard.append) == {**metrics, "inference_ms": ANY}
    assert (tmp_path / "there" / "metrics.csv").read_bytes() == begun  # with its seconds
    assert {"said": "goes on after epoch 2 of 2"} in heard
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    with pytest.raises(NasError, match=r"there must be a folder that all workers share"):
        work(there.plain(), heard.append)


def test_what_json_cannot_write_is_refused(tmp_path: Path) -> None:
    model = {"_target_": "torch.nn.Flatten", "names": {1: 2}}
    with pytest.raises(NasError, match=r"model must be of text.*workers=local"):
        ready(tmp_path / "run", arch=None, model=model).plain()


def test_what_a_training_tells_comes_out_again() -> None:
    row = EpochRow(
        epoch=1,
        learning_rate=0.1,
        loss=1 / 3,
        top1=50.0,
        top5=100.0,
        seconds=2.5,
        images_per_second=40.0,
        data_percent=1.0,
    )
    told: list[Any] = []
    watch = Watch(
        on_step=lambda *step: told.append(step),
        on_epoch=lambda *epoch: told.append(epoch),
        say=told.append,
    )
    with telling(lambda message: hear(json.loads(json.dumps(message)), watch)) as teller:
        for step in range(1, 1001):
            teller.on_step("training", step, 1000)
        teller.on_epoch(row, 7)
        teller.say("goes on")
    # A thousand steps in no time: the first and the last.
    assert told == [("training", 1, 1000), ("training", 1000, 1000), (row, 7), "goes on"]


def test_the_time_left_counts_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    console, text = shown()
    show = SweepShow(console, ["a", "b", "c"], lambda what, done, total: None)
    assert show.seconds_left(5.0) is None
    monkeypatch.setattr("nas.train.showing_sweep.monotonic", lambda: 100.0)
    show.watches[0].on_step("training", 40, 100)  # 39 of them were done before
    show.watches[1].on_step("training", 0, 300)
    show.watches[0].on_step("training", 60, 100)
    show.watches[1].on_step("training", 30, 300)
    # 50 steps in 10 s; 40 and 270 are left, and 200 of the third, as the others have on average.
    assert show.seconds_left(110.0) == pytest.approx(10 / 50 * (40 + 270 + 200))
    monkeypatch.setattr("nas.train.showing_sweep.monotonic", lambda: 110.0)
    show.failed(1, "the [red]loss[/]")
    # What failed is left no more, what it did still tells the pace.
    assert show.seconds_left(110.0) == pytest.approx(10 / 50 * (40 + 200))
    said = "b  failed: the [red]loss[/]\n1 of 3 trainings ended, left about 0:00:48\n"
    assert text.getvalue() == said


@pytest.mark.parametrize(
    ("n_trainings", "staff", "changes", "expected"),
    [
        (2, Processes(), {}, 8),
        (3, Local(), {}, 5),
        (100, Automatic(), {}, 1),
        (2, RayCluster(cpus=3), {}, 3),
        (2, RayCluster(cpus=0.5), {}, 1),
        (2, Processes(), {"threads": 4}, 4),
        (1, Processes(), {}, None),
        (2, Local(), {"devices": 2}, None),
    ],
)
def test_each_training_of_a_sweep_gets_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
    n_trainings: int,
    staff: Staff,
    changes: dict[str, Any],
    expected: int | None,
) -> None:
    monkeypatch.setattr(sweep, "n_cores", lambda: 16)
    options = TrainSettings(**{"recipe": {}, "device": "cpu", **changes})
    assert n_threads(options, n_trainings, staff) == expected


def test_as_many_at_a_time_as_cores_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.workers.processes.n_cores", lambda: 16)
    for cores, n in ((1, 16), (5, 3), (16, 1), (32, 1)):
        assert Processes().start(Task(function="a:b", cores=cores)).n == n
        assert Processes(n=2).start(Task(function="a:b", cores=cores)).n == 2
    task = Task(function="worker_tasks:make", cores=16)
    assert isinstance(Automatic().start(task), LocalWorkers)


def wanted(folder: Path, workers: str = "local", **changes: Any) -> Wanted:
    """Return what the command line would want of `ready`."""
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / "small.yaml").write_text(SMALL)
    given = {"recipe": RECIPE, "data": DATA, "device": "cpu", "devices": 1}
    staff = {"_target_": f"nas.workers.{workers}.{workers.capitalize()}"}
    arch = str(folder.parent / "small.yaml")
    return Wanted(
        cfg=OmegaConf.create({**given, "arch": arch, "workers": staff, **changes}),
        folder=folder,
        sweep_folder=folder.parent,
        words=("data=patterns", *(f"{name}={value}" for name, value in changes.items())),
        names={"data": "patterns", "workers": workers},
    )


def test_trainings_are_called_by_what_sets_them_apart(tmp_path: Path) -> None:
    every = [wanted(tmp_path / str(seed), ablate="no_se", seed=seed) for seed in (0, 1)]
    assert labels(every) == ["0 seed=0", "1 seed=1"]
    assert labels(every[:1]) == ["0"]
    every += [wanted(tmp_path / "2", arch="a" * 80)]
    assert labels(every)[1:] == ["1 ablate=no_se seed=1", f"2 arch={'a' * 52}..."]


def test_one_that_fails_is_named_and_the_others_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(training: Training, watching: Any) -> dict[str, Any]:
        if training.settings.seed == 1:
            raise ZeroDivisionError("by nothing")
        return train(training, watching)

    monkeypatch.setattr("nas.train.together.train", failing)
    every = [wanted(tmp_path / str(number), seed=number - 1) for number in range(4)]
    first = r"training 0 seed=-1 \(the first of 2 that failed\): seed must be an integer from 0"
    with pytest.raises(NasError, match=first):
        train_sweep(every)
    said = capsys.readouterr().out
    # What is wrong from the start is said before the first training begins.
    assert said.index("0 seed=-1  failed: seed must be") < said.index("1 seed=0  epoch 1 of 2")
    assert "2 seed=1  failed: ZeroDivisionError: by nothing (test_train_sweep.py, line " in said
    assert [row["folder"] for row in rows_of(tmp_path)] == ["1", "3"]
    assert (tmp_path / "comparison.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("folders", "workers", "changes", "said"),
    [
        ("01", ("processes", "processes"), {"devices": 2}, "workers=processes gives each training"),
        ("00", ("local", "local"), {}, r"0 is another one's too. Correct hydra\.sweep\.subdir="),
        ("01", ("local", "processes"), {}, "workers must be the same for a whole sweep"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    tmp_path: Path,
    folders: str,
    workers: tuple[str, str],
    changes: dict[str, Any],
    said: str,
) -> None:
    every = [
        wanted(tmp_path / name, kind, **changes)
        for name, kind in zip(folders, workers, strict=True)
    ]
    with pytest.raises(NasError, match=said):
        train_sweep(every)


def test_workers_for_a_single_training_are_refused(enter: Enter) -> None:
    done = enter(main, "arch=mobilenet_v1", *QUICK, "workers=processes")
    assert done.returncode == 2
    assert "workers=processes is for several trainings: add --multirun" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such processes")
def test_two_processes_one_of_which_dies_train_what_one_after_the_other_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []
    listen = Crew._hear

    def killing(crew: Crew, post: Any, message: dict[str, Any]) -> None:
        if not killed and "epoch" in message.get("question", {}):
            killed.append(post.worker.pid)
            os.kill(post.worker.pid, signal.SIGKILL)
        listen(crew, post, message)

    monkeypatch.setattr(Crew, "_hear", killing)
    recipe = {**RECIPE, "epochs": 3, "ema": 0.9}
    for name, workers in (("serial", "local"), ("both", "processes")):
        every = [
            wanted(tmp_path / name / str(seed), workers, seed=seed, recipe=recipe, threads=1)
            for seed in (0, 1)
        ]
        every += [wanted(tmp_path / name / "2", workers, start="none.safetensors")]
        with pytest.raises(NasError, match=r"training 2 .*: none\.safetensors must be a check"):
            train_sweep(every)
    said = capsys.readouterr().out
    assert "workers: 2 processes (workers=processes)" in said
    assert len(killed) == 1
    assert len(re.findall(r"\n[01] .*  goes on after epoch 1 of 3\n", said)) == 1
    assert said.count(" of 3  loss") == 2 * 2 * 3  # no epoch is trained twice
    for seed in "01":
        assert_same(tmp_path / "serial" / seed, tmp_path / "both" / seed)
