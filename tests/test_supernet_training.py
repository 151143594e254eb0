"""Training a supernet: it learns, it goes on exactly where it was left, its networks are judged."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.data.images import ImageData, Images
from nas.errors import NasError
from nas.network.supernet.supernet import Supernet
from nas.space import SearchSpace
from nas.training.batches import Batches
from nas.training.conditions import DivergedError
from nas.training.recipe import Recipe
from nas.training.supernet_accuracy import SharedAccuracy
from nas.training.supernet_checkpoint import SupernetCheckpoint
from nas.training.supernet_fit import Sandwich, SupernetTraining

SPACE = SearchSpace.load("tiny")
RECIPE = Recipe(epochs=2, resolution=8, width=0.25, batch_size=32, dropout=0.2)
CPU = torch.device("cpu")


def stripes(n_images: int, seed: int, size: int = 8) -> Images:
    """Return noise with bright rows (class 0) or bright columns (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_images) % 2
    pixels = torch.randint(0, 120, (n_images, 3, size, size), generator=generator)
    pixels[labels == 0, :, ::2, :] += 120
    pixels[labels == 1, :, :, ::2] += 120
    return Images(pixels=pixels.to(torch.uint8), labels=labels)


DATA = ImageData(
    name="stripes",
    digest="0123456789abcdef",
    classes=("rows", "columns"),
    train=stripes(96, 0),
    validation=stripes(40, 1),
)


def adapt(arch: Arch) -> Arch:
    return RECIPE.network(arch, 2, 8)


def training(recipe: Recipe = RECIPE, path: Path | None = None, seed: int = 3) -> SupernetTraining:
    torch.manual_seed(0)
    return SupernetTraining(
        supernet=Supernet(SPACE, adapt, recipe.dropout),
        batches=Batches.of(DATA, recipe, device=CPU),
        sandwich=Sandwich(n_random=1),
        seed=seed,
        checkpoint=SupernetCheckpoint(path=path, identity="one") if path else None,
        save_every=2,
    )


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def interrupt_at(step: int) -> Callable[[int, int], None]:
    def on_step(done: int, total: int) -> None:
        if done == step:
            raise Interrupted

    return on_step


def tensors_of(one: SupernetTraining) -> dict[str, Tensor]:
    found = dict(one.supernet.state_dict())
    for number, state in one.optimizer.state_dict()["state"].items():
        found |= {f"{number}.{name}": value for name, value in state.items()}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_goes_on_to_the_last_bit(tmp_path: Path, optimizer: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.003
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=rate)
    whole = training(recipe)
    whole.run()
    path = tmp_path / "a" / "supernet.safetensors"
    for stop, kept in ((3, 2), (5, 4)):  # at the end of the first pass, and in the second
        one = training(recipe, path)
        with pytest.raises(Interrupted):
            one.run(interrupt_at(stop))
        assert training(recipe, path).n_done == kept
    last = training(recipe, path)
    told = list[tuple[int, int]]()
    last.run(lambda done, total: told.append((done, total)))
    assert told == [(5, 6), (6, 6)]
    expected, found = tensors_of(whole), tensors_of(last)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert os.listdir(path.parent) == [path.name]


def test_a_finished_training_has_no_steps_left(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    training(path=path).run()
    training(path=path).run(interrupt_at(6))


def test_seeds_differ() -> None:
    recipe = replace(RECIPE, epochs=1)
    one, other = training(recipe, seed=0), training(recipe, seed=1)
    for each in (one, other):
        each.run()
    names = list(one.supernet.state_dict())
    assert any(
        not torch.equal(one.supernet.state_dict()[name], other.supernet.state_dict()[name])
        for name in names
    )


def test_the_library_s_own_random_numbers_go_on_as_if_none_were_drawn() -> None:
    one = training(replace(RECIPE, epochs=1))
    torch.manual_seed(5)
    one.run()
    found = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(found, torch.rand(1))


@pytest.mark.parametrize("damage", ["truncated", "other", "text", "foreign"])
def test_a_file_that_is_none_of_this_training_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "supernet.safetensors"
    one = training(path=path)
    SupernetCheckpoint(path=path, identity="one").save(one.supernet, one.optimizer, 1)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        path.write_text("weights: none")
    elif damage == "foreign":
        checkpoint = SupernetCheckpoint(path=path, identity="one")
        other = Supernet(SPACE, lambda arch: RECIPE.network(arch, 3, 8))
        checkpoint.save(other, torch.optim.SGD(other.parameters()), 1)
    else:
        path.write_bytes(content.replace(b'"identity":"one"', b'"identity":"two"'))
    with pytest.raises(NasError, match=r"supernet\.safetensors must .*(anew|Delete)"):
        training(path=path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = training(path=tmp_path / "file" / "supernet.safetensors")
    with pytest.raises(NasError, match="cannot be written"):
        one.run()


def test_a_diverged_training_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    one = training(path=path)
    with torch.no_grad():
        next(one.supernet.parameters()).fill_(float("inf"))
    with pytest.raises(DivergedError, match=r"recipe\.learning_rate"):
        one.run()
    assert not path.exists()


@pytest.mark.slow
def test_it_learns() -> None:
    recipe = replace(RECIPE, epochs=4, batch_size=16, augment=False, dropout=0.0)
    one = training(recipe)
    judge = SharedAccuracy(supernet=one.supernet, batches=one.batches, n_calibration=64)
    archs = [SPACE.random(seed) for seed in range(4)]
    before = [judge.top1(arch) for arch in archs]
    one.run()
    after = [judge.top1(arch) for arch in archs]
    assert sum(after) / 4 > 90 > 75 > sum(before) / 4


def test_statistics_are_those_of_the_calibration_images() -> None:
    one = training()
    judge = SharedAccuracy(supernet=one.supernet, batches=one.batches, n_calibration=10**6)
    network = judge.network(SPACE.random(0))
    images = one.batches.normalised(DATA.train.pixels)
    stem = network.layers[0]
    assert isinstance(stem, nn.Sequential)
    convolved: Tensor = stem[0](images)
    norm = stem[1]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, convolved.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, convolved.var(dim=(0, 2, 3)))
    assert not any(part.training for part in network.modules())
    assert norm.momentum == 0.01


def test_judging_is_repeatable_and_leaves_the_weights_alone() -> None:
    one = training()
    judge = SharedAccuracy(supernet=one.supernet, batches=one.batches, n_calibration=32)
    before = {name: value.clone() for name, value in one.supernet.state_dict().items()}
    arch = SPACE.random(1)
    assert judge.top1(arch) == judge.top1(arch)
    assert all(torch.equal(before[name], one.supernet.state_dict()[name]) for name in before)


TRAIN_AND_SAY = """
import sys
from pathlib import Path
from test_supernet_training import training
training(path=Path(sys.argv[1])).run(lambda done, total: print(done, flush=True))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    command = [sys.executable, "-c", TRAIN_AND_SAY, str(path)]
    folder = Path(__file__).parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 3:
                process.send_signal(signal.SIGKILL)
                break
    killed = training(path=path)
    assert 2 <= killed.n_done <= 6
    killed.run()
    whole = training()
    whole.run()
    expected, found = tensors_of(whole), tensors_of(killed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_it_learns_on_a_gpu() -> None:
    recipe = replace(RECIPE, epochs=8, augment=False, dropout=0.0)
    device = torch.device("cuda")
    one = SupernetTraining(
        supernet=Supernet(SPACE, adapt).to(device),
        batches=Batches.of(DATA, recipe, device=device),
        sandwich=Sandwich(n_random=1),
        seed=0,
    )
    started = time.perf_counter()
    one.run()
    assert time.perf_counter() - started < 60
    judge = SharedAccuracy(supernet=one.supernet, batches=one.batches, n_calibration=64)
    assert judge.top1(SPACE.random(0)) > 80
