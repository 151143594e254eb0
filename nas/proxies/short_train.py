"""Train each network for a short while on your data, and take its accuracy for what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch
from nas.data.images import ImageData
from nas.steps import OnStep
from nas.text import integer
from nas.training.batches import suited
from nas.training.conditions import DivergedError, TrainingError
from nas.training.fit import OnEpoch, train_arch
from nas.training.recipe import Recipe
from nas.training.required import recipe_of, required_data
from nas.training.results import TrainingName, TrainingResult, TrainingResults
from nas.training.spread import seed_std


class ShortTrain:
    """A proxy that trains: dear, but it knows your data.

    The deviation that it gives is that of the mean of `repeats` trainings, from the spread between
    seeds of all networks that were trained alike (`seed_std`): two or three repeats of one network
    alone say next to nothing about it, and those that happen to agree would be preferred.

    Args:
        data: what is trained on; its test part is never looked at.
        recipe: a `Recipe`, or some of its fields.
        repeats: trainings of each network, with the seeds `seed`, `seed + 1`, ...
        folder: where all results are kept, for every command that trains alike.
        device: auto, cpu, cuda, cuda:1 ...
        threads: of torch on a CPU; None: as many as torch has.
        on_step: told the epochs of each training as they end.

    Raises:
        NasError: no data, a recipe that is none, or a folder that cannot be written.
    """

    def __init__(
        self,
        data: ImageData | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        *,
        repeats: int = 1,
        seed: int = 0,
        folder: str | Path = "runs/trained",
        device: str = "auto",
        threads: int | None = 1,
        on_step: OnStep | None = None,
    ) -> None:
        self.data = required_data(data, "short_train")
        self.recipe = recipe_of(recipe)
        self.repeats = integer(repeats, "repeats", most=100)
        self.seed = integer(seed, "seed", least=0, most=2**31 - 1)
        self.threads = threads if threads is None else integer(threads, "threads", most=1024)
        self.device = device
        self.on_step = on_step
        self.results = TrainingResults(folder)
        self.n_trained = 0
        """Trainings that this object paid for."""
        self._suited: ImageData | None = None

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the top-1 of each arch, in percent.

        Raises:
            TrainingError: a network cannot be trained; the others that came before it are stored.
        """
        means = [np.mean([self.train(arch, seed).top1 for seed in self._seeds()]) for arch in archs]
        return np.array(means, dtype=float), np.full(len(archs), self.std())

    def evaluate(self, arch: Arch, on_epoch: OnEpoch) -> tuple[float, float] | None:
        """Return top-1 and standard deviation in percent, or None when `on_epoch` stopped it.

        `on_epoch` sees the first of the repeats alone. What is stored is told again, epoch by
        epoch; a training that is stored whole is not stopped, as it costs nothing any more.

        Raises:
            TrainingError: the network cannot be trained.
        """
        first = self.train(arch, self.seed, on_epoch)
        if first.state == "stopped":
            return None
        others = [self.train(arch, seed).top1 for seed in self._seeds()[1:]]
        return float(np.mean([first.top1, *others])), self.std()

    def std(self) -> float:
        """Return the standard deviation of what `predict` says of a network, in percent."""
        return float(seed_std(self.results.every(), self.recipe, self.data) / self.repeats**0.5)

    def train(self, arch: Arch, seed: int, on_epoch: OnEpoch | None = None) -> TrainingResult:
        """Return what became of one training, from the store or by training now.

        Raises:
            TrainingError: it failed, now or before.
        """
        name = self.name_of(arch, seed)
        replay = _Replay(on_epoch=on_epoch)
        stored = replay.settled(self.results.get(name))
        if stored is None:
            with self.results.training(name):  # maybe another process was at it until now
                stored = replay.settled(self.results.get(name))
                if stored is None:
                    stored = self._train(arch, name, replay)
                    self.results.add(stored)
        if stored.state == "failed":
            raise TrainingError(stored.reason)
        return stored

    def name_of(self, arch: Arch, seed: int) -> TrainingName:
        """Return what the result of a training is stored under."""
        return TrainingName(
            key=arch.key(), recipe=self.recipe.digest(), data=self.data.digest, seed=seed
        )

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.repeats)

    def _train(self, arch: Arch, name: TrainingName, replay: "_Replay") -> TrainingResult:
        self.n_trained += 1
        if self._suited is None:
            self._suited = suited(self.data, self.recipe)

        def on_epoch(epoch: int, top1: float) -> bool:
            if self.on_step is not None:
                self.on_step(f"train {arch.name}", epoch, self.recipe.epochs)
            return replay.tell(epoch, top1)

        try:
            training = train_arch(
                arch,
                self._suited,
                self.recipe,
                seed=name.seed,
                device=self.device,
                threads=self.threads,
                on_epoch=on_epoch,
            )
        except DivergedError as error:
            return TrainingResult.now(name, arch, state="failed", reason=_about(arch, error))
        except TrainingError as error:  # not to be stored: another machine may manage
            raise TrainingError(_about(arch, error)) from error
        return TrainingResult.now(
            name,
            arch,
            state="whole" if training.is_whole else "stopped",
            top1=training.top1,
            history=training.history,
            seconds=round(training.seconds, 3),
        )


def _about(arch: Arch, error: TrainingError) -> str:
    return f"network {arch.name} ({arch.key()}) cannot be trained: {error}"


@dataclass(kw_only=True)
class _Replay:
    """Tells each epoch once, whether it is stored or run: `n_told` so far."""

    on_epoch: OnEpoch | None
    n_told: int = 0

    def tell(self, epoch: int, top1: float) -> bool:
        if self.on_epoch is None or epoch <= self.n_told:
            return False
        self.n_told = epoch
        return self.on_epoch(epoch, top1)

    def settled(self, stored: TrainingResult | None) -> TrainingResult | None:
        """Return the stored result where it answers: whole, failed, or stopped where told to."""
        if stored is None or stored.state == "failed":
            return stored
        is_stopped = False
        for epoch, top1 in enumerate(stored.history, start=1):
            is_stopped = self.tell(epoch, top1)
            if is_stopped and stored.state == "stopped":
                return stored
        return stored if stored.state == "whole" else None
