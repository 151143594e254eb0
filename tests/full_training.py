"""Trainings in full that take a fraction of a second."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from training_data import SMALL, patterns

from nas.arch import Arch
from nas.data.images import ImageData
from nas.training.full.folder import TrainingFolder
from nas.training.full.job import Place, TrainingJob
from nas.training.full.launch import make_fabric, run_training
from nas.training.full.networks import fresh
from nas.training.full.recipe import FullRecipe
from nas.training.full.watching import Watch, Watching

RECIPE = FullRecipe(epochs=2, batch_size=32, learning_rate=0.05, ema=0.9, dropout=0.2)


def job(
    folder: Path,
    recipe: FullRecipe = RECIPE,
    *,
    arch: Arch | None = SMALL,
    data: ImageData | None = None,
    make_network: Callable[[], nn.Module] | None = None,
    place: Place | None = None,
    seed: int = 3,
    **more: Any,
) -> TrainingJob:
    """Return a training of a small network on four blurs of colour."""
    if make_network is None:
        assert arch is not None
        make_network = partial(fresh, arch, recipe.dropout, seed)
    return TrainingJob(
        name="small",
        arch=arch,
        make_network=make_network,
        size=16,
        data=data or patterns(),
        recipe=recipe,
        folder=TrainingFolder(folder),
        identity={},
        seed=seed,
        place=place or Place(device="cpu"),
        **more,
    )


@contextmanager
def nobody() -> Iterator[Watch]:
    """Watch without a word."""
    yield Watch()


def train(one: TrainingJob, watching: Watching = nobody) -> dict[str, Any]:
    """Train, and return what metrics.json would hold."""
    return run_training(make_fabric(one.place), one, watching)


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def interrupt_at(step: int) -> Watching:
    """Return what ends a training after a step."""

    def on_step(what: str, done: int, total: int) -> None:
        if done == step:
            raise Interrupted

    @contextmanager
    def watching() -> Iterator[Watch]:
        yield Watch(on_step=on_step)

    return watching


def train_until(one: TrainingJob, step: int) -> None:
    """Train, but for the end."""
    with pytest.raises(Interrupted):
        train(one, interrupt_at(step))
