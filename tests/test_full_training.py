"""Training in full: it learns, is kept whole, and goes on exactly where it was left."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_training import RECIPE, job, train, train_until
from safetensors.torch import load_file
from torch import Tensor
from training_data import patterns

from nas.errors import NasError
from nas.network.checkpoint import Checkpoint
from nas.training.conditions import DivergedError
from nas.training.full.evaluation import Accuracy
from nas.training.full.folder import TrainingFolder
from nas.training.full.job import Place
from nas.training.full.recipe import FullRecipe

FILES = ("best.safetensors", "last.safetensors", "state.safetensors")


def tensors(folder: Path) -> dict[str, Tensor]:
    return {
        f"{file}: {name}": one for file in FILES for name, one in load_file(folder / file).items()
    }


def figures(folder: Path) -> list[tuple[str, ...]]:
    """Return what metrics.csv says, but for times."""
    with (folder / "metrics.csv").open() as file:
        names = ("epoch", "learning_rate", "loss", "top1", "top5")
        return [tuple(row[name] for name in names) for row in csv.DictReader(file)]


def assert_same(first: Path, second: Path) -> None:
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert figures(first) == figures(second)


def test_a_network_learns_and_its_file_gives_the_same_accuracy(tmp_path: Path) -> None:
    recipe = FullRecipe(epochs=7, batch_size=16, learning_rate=0.1, crop="none", flip=False)
    metrics = train(job(tmp_path, recipe))
    assert metrics["top1"] > 90  # by chance 25
    data, trained = patterns(), Checkpoint.load(tmp_path / "best.safetensors")
    assert trained.classes == data.classes
    # By hand: divided by 255, normalised by what the file says.
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (trained.mean, trained.std))
    images = (data.validation.pixels.float() / 255 - mean) / std
    is_right = trained.network()(images).argmax(dim=1) == data.validation.labels
    assert metrics["part"] == "validation"
    assert metrics["top1"] == pytest.approx(100 * float(is_right.float().mean()))
    assert metrics["top5"] == 100  # there are four classes


def test_the_test_part_is_what_is_reported(tmp_path: Path) -> None:
    data = patterns(n_validation=40)
    wrong = replace(data.validation, labels=(data.validation.labels + 1) % 4)
    recipe = FullRecipe(epochs=7, batch_size=16, learning_rate=0.1, crop="none", flip=False)
    metrics = train(job(tmp_path, recipe, data=replace(data, test=wrong)))
    assert (metrics["part"], metrics["n_images"]) == ("test", 40)
    assert metrics["top1"] < 10
    assert float(figures(tmp_path)[-1][3]) > 90


@pytest.mark.parametrize(
    ("optimizer", "step", "save_every"),
    [("sgd", 3, 2), ("adam", 3, 2), ("adamw", 6, 1), ("rmsprop", 5, 1), ("sgd", 4, None)],
)
def test_an_interrupted_training_goes_on_to_the_bit(
    tmp_path: Path, optimizer: str, step: int, save_every: int | None
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.01, mixup=0.2, clip_norm=1.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    place = Place(device="cpu", save_every=save_every)
    train(job(whole, recipe, place=place))
    train_until(job(parts, recipe, place=place), step)
    n_saved = (
        0 if step < 4 and save_every is None else step // (save_every or 4) * (save_every or 4)
    )
    if step == 4 and save_every is None:
        n_saved = 0  # the epoch was not judged yet
    assert (parts / "state.safetensors").exists() == (n_saved > 0)
    train(job(parts, recipe, place=place))
    assert_same(whole, parts)


def test_a_finished_training_says_the_same_again(tmp_path: Path) -> None:
    first = train(job(tmp_path))
    (tmp_path / "metrics.csv").unlink()  # it is written after the state
    before = (tmp_path / "state.safetensors").read_bytes()
    again = train(job(tmp_path))
    assert {**again, "inference_ms": 0} == {**first, "inference_ms": 0}
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert len(figures(tmp_path)) == 2


def test_another_seed_trains_otherwise(tmp_path: Path) -> None:
    train(job(tmp_path / "a", seed=1))
    train(job(tmp_path / "b", seed=2))
    assert figures(tmp_path / "a") != figures(tmp_path / "b")


def test_the_best_epoch_is_kept_beside_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([50.0, 70.0, 70.0, 50.0, 70.0])
    monkeypatch.setattr(
        "nas.training.full.loop.evaluate",
        lambda *_: Accuracy(top1=next(said), top5=99.0, n_images=80),
    )
    recipe = replace(RECIPE, epochs=3)
    metrics = train(job(tmp_path / "whole", recipe))
    assert metrics["best_epoch"] == 2  # the earlier of two as good
    train_until(job(tmp_path / "two", recipe), 9)
    best, last = (load_file(tmp_path / "whole" / name) for name in FILES[:2])
    second = load_file(tmp_path / "two" / "last.safetensors")
    assert all(torch.equal(best[name], second[name]) for name in best)
    assert any(not torch.equal(best[name], last[name]) for name in best)


def test_a_full_disk_leaves_the_last_good_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, epochs=2)
    whole, full = tmp_path / "whole", tmp_path / "full"
    train(job(whole, recipe))
    room, sync = [4], os.fsync

    def fills_up(descriptor: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", fills_up)
    with pytest.raises(NasError, match=r"cannot be written.*No space left"):
        train(job(full, recipe))
    monkeypatch.undo()
    assert len(figures(full)) == 1
    Checkpoint.load(full / "best.safetensors").network()
    train(job(full, recipe))
    assert_same(whole, full)


def test_a_diverged_loss_is_named(tmp_path: Path) -> None:
    recipe = FullRecipe(epochs=3, batch_size=32, learning_rate=100, momentum=0, weight_decay=10)
    with pytest.raises(DivergedError, match=r"must be numbers.*Lower recipe\.learning_rate"):
        train(job(tmp_path, recipe))
    for path in tmp_path.glob("*.safetensors"):
        assert all(bool(one.isfinite().all()) for one in load_file(path).values())


def test_weights_that_the_last_step_spoils_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.SGD.step
    n_steps = [0]

    def spoiling(self: torch.optim.SGD, closure: None = None) -> None:
        step(self, closure)
        n_steps[0] += 1
        if n_steps[0] == 8:  # the last of the second epoch, whose loss was a number
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.SGD, "step", spoiling)
    with pytest.raises(DivergedError, match="none in epoch 2 of 2"):
        train(job(tmp_path))
    assert len(figures(tmp_path)) == 1
    Checkpoint.load(tmp_path / "last.safetensors")


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    train(job(tmp_path))
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(NasError, match=r"state\.safetensors must be the state of this training"):
        train(job(tmp_path))


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.check_same_training({"seed": 0, "recipe": {"epochs": 3}})
    folder.check_same_training({"seed": 0, "recipe": {"epochs": 3}})
    with pytest.raises(NasError, match=r"with recipe epochs 3, not epochs 4.*another hydra\.run"):
        folder.check_same_training({"seed": 0, "recipe": {"epochs": 4}})
    noted = json.loads(folder.environment.read_text())["training"]
    assert noted == {"seed": 0, "recipe": {"epochs": 3}}


def test_batches_that_cannot_be_cut_are_named(tmp_path: Path) -> None:
    place = Place(device="cpu", n_accumulated=3)
    with pytest.raises(NasError, match=r"batch_size must be a multiple of 3.*Try 33"):
        train(job(tmp_path, place=place))
    place = Place(device="cpu", n_accumulated=32)
    with pytest.raises(NasError, match="at least 2 images at a time"):
        train(job(tmp_path, place=place))


TRAIN_AND_SAY = """
import sys
from contextlib import contextmanager
from pathlib import Path
from full_training import job, train
from nas.training.full.watching import Watch
from nas.training.full.job import Place

@contextmanager
def watching():
    yield Watch(on_step=lambda what, done, total: print(done, flush=True))

train(job(Path(sys.argv[1]), place=Place(device="cpu", save_every=1)), watching)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [2, 4, 6])
def test_a_killed_training_goes_on_to_the_bit(tmp_path: Path, kill_at: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(job(whole, place=Place(device="cpu", save_every=1)))
    command = [sys.executable, "-c", TRAIN_AND_SAY, str(killed)]
    folder = Path(__file__).parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == kill_at:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    train(job(killed, place=Place(device="cpu", save_every=1)))
    assert_same(whole, killed)
