"""The truth about networks: each is trained alone, once for every seed."""

from collections.abc import Callable, Sequence
from math import nan
from typing import Protocol

import numpy as np

from nas.arch import Arch
from nas.errors import NasError
from nas.fidelity.judgement import Truths
from nas.workers.trainings import TrainedAhead

FIRST_SEED = 1000
"""Of the trainings: far from 0, so that a proxy that trains is not compared with itself."""


class Trained(Protocol):
    """What became of a training: top-1 in percent, and the seconds that it once took."""

    @property
    def top1(self) -> float:
        """Return the top-1 in percent."""

    @property
    def seconds(self) -> float:
        """Return how long the training took."""


class Trainer(Protocol):
    """Trains networks and keeps what became of them (`nas.proxies.short_train.ShortTrain`)."""

    def train(self, arch: Arch, seed: int) -> Trained:
        """Return what became of one training, from the store or by training now."""


def is_about_a_network(error: NasError) -> bool:
    """Tell whether other networks may do better: a plain error is about options, a kind is not."""
    return type(error) is not NasError


def train_truth(
    trainer: Trainer,
    archs: Sequence[Arch],
    origin: str,
    *,
    n_trainings: int,
    on_step: Callable[[str, int, int], None],
) -> Truths:
    """Train every network with each of so many seeds; what is stored is not trained again.

    Raises:
        NasError: wrong options, or no network could be trained.
    """
    if isinstance(trainer, TrainedAhead):
        seeds = range(FIRST_SEED, FIRST_SEED + n_trainings)
        n_all = n_trainings * len(archs)
        trainer.train_ahead(archs, seeds, lambda n_done: on_step("training", n_done, n_all))
    top1 = np.full((n_trainings, len(archs)), nan)
    reasons, seconds = dict[str, str](), []
    for number, row in enumerate(top1):
        what = "training" if n_trainings == 1 else f"training {number + 1} of {n_trainings}"
        for place, arch in enumerate(archs):
            try:
                found = trainer.train(arch, FIRST_SEED + number)
            except NasError as error:
                if not is_about_a_network(error):
                    raise
                reasons[arch.key()] = str(error)
            else:
                row[place] = found.top1
                seconds.append(found.seconds)
            on_step(what, place + 1, len(archs))
    if len(reasons) == len(archs):
        raise NasError(f"no network could be trained. The first: {next(iter(reasons.values()))}")
    return Truths(origin=origin, top1=top1, seconds=float(np.mean(seconds)), reasons=reasons)
