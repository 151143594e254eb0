"""The command that trains in full: weights and figures in a folder, errors in the first second."""

import json
import sys
from io import StringIO
from pathlib import Path

import pytest
from conftest import Enter
from rich.console import Console

from nas.locks import folder_claimed
from nas.network.checkpoint import Checkpoint
from nas.text import read_json
from nas.train.__main__ import main
from nas.train.comparison import table_of

SMALL = """version: 1
name: small
resolution: 8
num_classes: 1000
layers:
- conv k3 3>8 s2 re @8
- mb k3 8>16>16 s2 se8 hs @4
- head 16>1000 @2
"""
QUICK = ("data=digits", "data.limit=200", "recipe=quick", "recipe.flip=false", "device=cpu")


@pytest.fixture
def arch(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return f"arch={path}"


def test_a_training_leaves_weights_and_figures(enter: Enter, arch: str, tmp_path: Path) -> None:
    words = (arch, *QUICK, "recipe.epochs=2", "hydra.run.dir=run", "tensorboard=true")
    ended = enter(main, *words)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "run"
    metrics = read_json(folder / "metrics.json")
    assert f"top-1 {metrics['top1']:.2f} %" in ended.stdout
    assert "of the 40 validation images of digits" in ended.stdout
    assert "epoch 2 of 2  loss" in ended.stdout
    assert "images/s" in ended.stdout
    assert "left 0:00:00" in ended.stdout
    trained = Checkpoint.load(folder / "best.safetensors")
    assert trained.arch.num_classes == len(trained.classes) == 10
    assert trained.arch.resolution == metrics["resolution"] == 8
    assert metrics["params"] == sum(one.numel() for one in trained.network().parameters())
    # By hand: 9 taps on 4 x 4 pixels; expansion, depthwise, SE, projection; classifier.
    convolutions = 16 * 27 * 8 + 16 * 8 * 16 + 4 * 9 * 16 + 2 * 8 * 16 + 4 * 16 * 16
    assert metrics["macs"] == convolutions + 160
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3
    assert list((folder / "tensorboard").iterdir())
    assert metrics["inference_ms"] > 0
    again = enter(main, *words)
    assert "goes on after epoch 2 of 2" in again.stdout
    assert read_json(folder / "metrics.json")["top1"] == metrics["top1"]


def test_an_ablated_network_is_what_is_trained(enter: Enter, arch: str, tmp_path: Path) -> None:
    words = (arch, *QUICK, "recipe.epochs=1", "hydra.run.dir=run", "ablate=no_se")
    assert enter(main, *words).returncode == 0
    trained = Checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert [layer.se for layer in trained.arch.layers] == [0, 0, 0]


def test_other_options_in_the_same_folder_are_refused(enter: Enter, arch: str) -> None:
    words = (arch, *QUICK, "recipe.epochs=1", "hydra.run.dir=run")
    assert enter(main, *words).returncode == 0
    ended = enter(main, *words, "recipe.learning_rate=0.2")
    assert ended.returncode == 2
    assert "holds a training with recipe learning_rate 0.1, not learning_rate 0.2" in ended.stderr
    ended = enter(main, *words, "width=2")
    assert "holds a training with network" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "arch must name a network: arch=mobilenet_v3_small"),
        (("arch=none",), "unknown name in search_spaces/baselines/"),
        (("arch=mobilenet_v1",), "data must be chosen: data=<name>. Known: cifar10"),
        (("arch=mobilenet_v1", "recipe=none"), "unknown recipe 'none'"),
        (("arch=mobilenet_v1", "recipe.optimizer=lamb"), "unknown recipe.optimizer 'lamb'"),
        (("arch=mobilenet_v1", "recipe.epochs=0"), "recipe.epochs must be an integer from 1"),
        (("arch=mobilenet_v1", "recipe.warmup_epochs=99"), "at most recipe.epochs (20)"),
        (("arch=mobilenet_v1", "devices=0"), "devices must be an integer from 1"),
        (("arch=mobilenet_v1", "device=gpu"), "device 'gpu' cannot be used"),
        (("arch=mobilenet_v1", "precision=int8"), "unknown precision 'int8'"),
        (("arch=mobilenet_v1", "precision=fp16", "device=cpu"), "precision=fp16 needs a GPU"),
        (("arch=mobilenet_v1", "start=none.safetensors"), "must be a checkpoint that nas.train"),
        (("arch=mobilenet_v1", "model={_target_: torch.nn.Flatten}"), "Leave one of them out"),
        (("model={_target_: torch.nn.Flatten}", "width=2"), "width is for networks of arch="),
        (("model={out: 3}", "data=digits"), "model must name what to make"),
        (("arch=mobilenet_v1", "data=digits", "teacher=a"), "a cannot be read"),
    ],
)
def test_wrong_options_are_named_at_once(enter: Enter, words: tuple[str, ...], said: str) -> None:
    ended = enter(main, *words)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_missing_extra_is_named(enter: Enter, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    ended = enter(main, arch, *QUICK)
    assert ended.returncode == 2
    assert 'pip install "nas-cpu[train]"' in ended.stderr


def test_a_sweep_ends_with_a_table(enter: Enter, arch: str, tmp_path: Path) -> None:
    words = ("--multirun", *QUICK, "recipe.epochs=1", "hydra.sweep.dir=sweep", "workers=local")
    ended = enter(main, *words, arch, "width=1,2")
    assert ended.returncode == 0, ended.stderr
    rows = [read_json(tmp_path / "sweep" / name / "metrics.json") for name in "01"]
    assert [row["network"] for row in rows] == ["small", "small_w2"]
    printed = ended.stdout[ended.stdout.index("s/epoch") :]
    best, worst = sorted(rows, key=lambda row: -row["top1"])
    assert printed.index(f"{best['network']} ") < printed.index(f"{worst['network']} ")
    assert "0 width=1  epoch 1 of 1  loss" in ended.stdout
    assert "1 of 2 trainings ended, left about 0:00:0" in ended.stdout
    lines = (tmp_path / "sweep" / "comparison.csv").read_text().splitlines()
    assert lines[0].startswith("network,options,seed,data,part,top1")
    own = f",0,digits,validation,{rows[0]['top1']:.6g},"
    assert lines[1].startswith("small,") and own in lines[1]
    assert json.loads((tmp_path / "sweep" / "1" / "environment.json").read_text())["training"]


def test_an_interrupted_sweep_begins_no_other_training(
    enter: Enter, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def interrupted(*given: object) -> None:
        begun.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.train.training.run_training", interrupted)
    words = ("--multirun", arch, "seed=0,1,2", *QUICK, "hydra.sweep.dir=sweep", "workers=local")
    ended = enter(main, *words)
    assert (ended.returncode, len(begun)) == (130, 1)
    assert "Run the same command again to go on" in ended.stderr


def test_seeds_of_one_network_share_a_line() -> None:
    row = {
        "network": "small",
        "options": "recipe=quick",
        "training": "a",
        "top5": 100.0,
        "seconds_per_epoch": 2.0,
        "images_per_second": 50.0,
        "inference_ms": 0.5,
        "table_ms": None,
        "macs": 2e6,
        "params": 3000,
    }
    others = {"network": "large", "options": "recipe=notes", "training": "b"}
    rows = [{**row, "top1": 70.0}, {**row, "top1": 73.0}, {**row, "top1": 70.0}]
    shown = Console(width=200, file=StringIO())
    shown.print(table_of([*rows, {**row, **others, "top1": 80.0}]))
    assert isinstance(shown.file, StringIO)
    head, first, second = shown.file.getvalue().splitlines()
    assert "table ms" not in head
    figures = ["80.00", "100.00", "2.00", "0.50", "2.00", "0.00"]
    assert first.split() == ["large", *figures, "recipe=notes"]
    assert "small" in second
    assert "71.00 ± 1.73" in second  # the squares of -1, 2, -1 are 6, over two


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_a_folder_that_another_command_writes_is_refused(
    enter: Enter, arch: str, tmp_path: Path
) -> None:
    words = (arch, *QUICK, "recipe.epochs=1", "hydra.run.dir=run")
    (tmp_path / "run").mkdir()
    with folder_claimed(tmp_path / "run"):
        ended = enter(main, *words)
        assert ended.returncode == 2
        assert "run is being written by another command" in ended.stderr
        assert not (tmp_path / "run/metrics.json").exists()
    assert enter(main, *words).returncode == 0
