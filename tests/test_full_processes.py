"""Several processes train as one: the same loss and weights, whoever has which part."""

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_training import RECIPE, job, train
from safetensors.torch import load_file
from test_full_effects import PLAIN, flat, too_many
from test_train import SMALL as ARCH

from nas.errors import NasError
from nas.training.conditions import TrainingError
from nas.training.full.job import Place
from nas.training.full.launch import make_fabric

pytestmark = pytest.mark.slow
TWO = Place(device="cpu", n_devices=2)
PARTS = Place(device="cpu", n_accumulated=2)


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def assert_same(one: Path, other: Path, by: float) -> None:
    first, second = (load_file(folder / "last.safetensors") for folder in (one, other))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=by, atol=by)
    assert losses(one) == pytest.approx(losses(other), rel=1e-4)


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    recipe = replace(PLAIN, epochs=2, momentum=0.9, ema=0.5)
    for name, place in (("one", Place(device="cpu")), ("two", TWO)):
        one = job(tmp_path / name, recipe, arch=None, make_network=flat, place=place)
        metrics = train(one)
        assert metrics["devices"] == place.n_devices
    assert_same(tmp_path / "one", tmp_path / "two", 1e-6)
    assert len(losses(tmp_path / "two")) == 2


def test_batch_norm_and_draws_are_those_of_as_many_parts(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, mixup=0.2, randaugment=1, erasing=0.5)
    train(job(tmp_path / "parts", recipe, place=PARTS))
    train(job(tmp_path / "two", recipe, place=TWO))
    first, second = (load_file(tmp_path / name / "state.safetensors") for name in ("parts", "two"))
    for name in first:
        # Running statistics take every part after another, or the mean over the processes.
        if name.startswith("weights.") and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "two"), rel=1e-5)


def test_errors_of_other_processes_come_back(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="must give 4 logits"):
        train(job(tmp_path, PLAIN, arch=None, make_network=too_many, place=TWO))
    with pytest.raises(NasError, match="devices is 2"):
        make_fabric(Place(device="cpu:0", n_devices=2))


@pytest.mark.long
def test_torchrun_starts_the_processes_as_well(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(ARCH)
    words = ["-m", "nas.train", "arch=small.yaml", "data=digits"]
    words += ["data.limit=100", "recipe=quick", "recipe.epochs=1", "device=cpu"]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*run, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Add hydra.run.dir=runs/train/<name>" in done.stderr
    done = subprocess.run(
        [*run, *words, "hydra.run.dir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1 of 1  loss") == 1
    assert (tmp_path / "run" / "metrics.json").exists()
    assert len(losses(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("sent", "n_devices"),
    [
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.long),
        (signal.SIGKILL, 2),
    ],
)
def test_an_ended_command_goes_on(tmp_path: Path, sent: signal.Signals, n_devices: int) -> None:
    (tmp_path / "small.yaml").write_text(ARCH)
    words = ["arch=small.yaml", "data=digits", "data.limit=200", "recipe=quick"]
    words += ["recipe.epochs=40", "device=cpu", f"devices={n_devices}", "hydra.run.dir=run"]
    command = [sys.executable, "-m", "nas.train", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch  2"):
                process.send_signal(sent)
                break
        process.stdout.read()  # it ends when the last process that writes there has
    assert process.returncode == (130 if sent == signal.SIGTERM else -sent)
    n_before = len(losses(tmp_path / "run"))
    assert 2 <= n_before < 40
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"goes on after epoch {n_before} of 40" in done.stdout
    assert len(losses(tmp_path / "run")) == 40
