"""Judge networks on shared weights: one training of the whole space, then only inference."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.arch import Arch
from nas.data.images import ImageData
from nas.errors import NasError, shown
from nas.latency.table import LatencyTable
from nas.locks import file_locked
from nas.network.build import Network
from nas.network.supernet.supernet import Supernet
from nas.paths import stem_of
from nas.space import SearchSpace
from nas.steps import OnStep
from nas.text import integer
from nas.training.batches import Batches, device_named
from nas.training.conditions import memory_errors, seeded, training_threads
from nas.training.recipe import Recipe
from nas.training.required import recipe_of, required_data
from nas.training.supernet_accuracy import SharedAccuracy
from nas.training.supernet_checkpoint import SupernetCheckpoint
from nas.training.supernet_fit import Sandwich, SupernetTraining

if TYPE_CHECKING:
    from nas.search.records import Target

_FORMAT = 1
"""Raised whenever the same options come to train differently: older checkpoints no longer count."""


class SupernetProxy:
    """A proxy that trains one supernet for each space, and judges networks by its weights.

    The training is kept under `folder`; it goes on where it was left, and is never paid twice. The
    deviation is that of a share of `n_validation` images, and `spread` beside it.

    Args:
        data: what is trained on; its test part is never looked at.
        recipe: a `Recipe`, or some of its fields; each step trains some networks on a batch.
        n_random: random networks of a step.
        is_bare: these alone; else the largest and the smallest beside them, see `Sandwich`.
        n_calibration: training images for the batch-norm statistics of each network.
        n_validation: validation images that judge a network (None: all).
        spread: percent top-1 by which shared weights are expected to misjudge a network.
        folder: where supernets are kept, a file each.
        save_every: steps after which the file is written.
        device: auto, cpu, cuda, cuda:1 ...
        threads: of torch on a CPU; None: as many as torch has.

    Raises:
        NasError: no data, a recipe that is none or that counts seconds, an option out of bounds.
    """

    def __init__(
        self,
        data: ImageData | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        *,
        n_random: int = 1,
        is_bare: bool = True,
        n_calibration: int = 512,
        n_validation: int | None = None,
        spread: float = 1.0,
        seed: int = 0,
        folder: str | Path = "runs/supernets",
        save_every: int = 100,
        device: str = "auto",
        threads: int | None = 1,
    ) -> None:
        self.data = required_data(data, "supernet")
        self.recipe = recipe_of(recipe)
        if self.recipe.seconds is not None:
            raise NasError(
                "a supernet's training is counted in steps, so that it can go on exactly, but "
                f"recipe.seconds is {self.recipe.seconds:g}. Set recipe.epochs in its place."
            )
        self.sandwich = Sandwich(
            n_random=integer(n_random, "n_random", 1 if is_bare else 0, 100), is_bare=is_bare
        )
        self.n_calibration = integer(n_calibration, "n_calibration", 2)
        self.n_validation = _optional(n_validation, "n_validation")
        self.spread = _spread(spread)
        self.seed = integer(seed, "seed", 0, 2**31 - 1)
        self.folder = Path(folder)
        self.save_every = integer(save_every, "save_every")
        self.device = device
        self.threads = _optional(threads, "threads")
        self._judges: list[SharedAccuracy] = []
        self._known: dict[str, float] = {}

    def prepare(self, targets: Sequence["Target"], table: LatencyTable, on_step: OnStep) -> None:
        """Train a supernet for each different space of the targets, or go on with it.

        The latency table is not asked.

        Raises:
            NasError: the folder cannot be written, or a file in it is damaged.
            TrainingError: the training diverged, or memory ran out.
        """
        for target in targets:
            if all(judge.supernet.space != target.space for judge in self._judges):
                self.prepare_space(target.space, on_step)

    def prepare_space(self, space: SearchSpace, on_step: OnStep | None = None) -> None:
        """Do the same for one space."""

        def progress(done: int, total: int) -> None:
            if on_step is not None:
                on_step(f"training the supernet of {space.name}", done, total)

        device = device_named(self.device)
        path = self.file_of(space)
        with training_threads(self.threads), memory_errors(), _only_one(path):
            training = SupernetTraining(
                supernet=self._fresh(space).to(device),
                batches=Batches.of(
                    self.data, self.recipe, device=device, n_channels=space.in_channels
                ),
                sandwich=self.sandwich,
                seed=self.seed,
                checkpoint=SupernetCheckpoint(path=path, identity=path.stem),
                save_every=self.save_every,
            )
            training.run(progress)
        self._judges.append(
            SharedAccuracy(
                supernet=training.supernet,
                batches=training.batches,
                n_calibration=self.n_calibration,
                n_validation=self.n_validation,
                seed=self.seed,
            )
        )

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the top-1 of each arch, in percent.

        Both are NaN for a network of none of the spaces.

        Raises:
            NasError: `prepare` was not called before.
        """
        if not self._judges:
            raise NasError(
                "proxy supernet has no weights yet. Call prepare(targets, table, on_step) before "
                "predict."
            )
        with training_threads(self.threads), memory_errors():
            means = np.array([self._top1(arch) for arch in archs], dtype=float)
        n_images = len(self._judges[0].batches.validation)
        share = means / 100
        binomial = 100 * np.sqrt(share * (1 - share) / min(self.n_validation or n_images, n_images))
        return means, np.hypot(binomial, self.spread)

    def network(self, arch: Arch) -> Network:
        """Return the network with a copy of the shared weights, ready to be judged or trained on.

        It is what the recipe makes of the arch, for the classes of the data.

        Raises:
            NasError: no space that was prepared holds the arch.
        """
        with training_threads(self.threads):
            return self._required_judge(arch).network(arch)

    def save_weights(self, arch: Arch, path: str | Path) -> None:
        """Write `network(arch)` as a checkpoint: what a retraining starts from.

        Raises:
            NasError: no space that was prepared holds the arch, or the file cannot be written.
        """
        batches, classes = self._required_judge(arch).batches, self.data.classes
        adapted = self.recipe.network(arch, len(classes), self.data.size)
        batches.checkpoint(adapted, self.network(arch).state_dict(), classes).save(path)

    def file_of(self, space: SearchSpace) -> Path:
        """Return the checkpoint of a space; its name follows from all that the weights do."""
        parts = [[part.kind, part.options, part.parent] for part in space.sections]
        sandwich = [self.sandwich.n_random, self.sandwich.is_bare]
        text = json.dumps(
            [
                _FORMAT,
                [space.resolution, space.in_channels, space.scaling, parts],
                [self.recipe.digest(), self.data.digest, self.seed, sandwich],
            ]
        )
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.folder / f"{stem_of(space.name)}-{digest}.safetensors"

    def _fresh(self, space: SearchSpace) -> Supernet:
        classes, size = len(self.data.classes), self.data.size
        with seeded(self.seed, torch.device("cpu")):
            return Supernet(
                space, lambda arch: self.recipe.network(arch, classes, size), self.recipe.dropout
            )

    def _judge_of(self, arch: Arch) -> SharedAccuracy | None:
        return next((judge for judge in self._judges if judge.supernet.holds(arch)), None)

    def _required_judge(self, arch: Arch) -> SharedAccuracy:
        judge = self._judge_of(arch)
        if judge is None:
            raise NasError(
                f"{arch.name} ({arch.key()}) must be a network of a space that a supernet was "
                "trained for, but is of none. Call prepare with its space."
            )
        return judge

    def _top1(self, arch: Arch) -> float:
        key = arch.key()
        if key not in self._known:
            judge = self._judge_of(arch)
            self._known[key] = float("nan") if judge is None else judge.top1(arch)
        return self._known[key]


def _optional(value: int | None, where: str) -> int | None:
    return None if value is None else integer(value, where)


def _spread(value: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
        raise NasError(f"spread must be from 0 to 100 percent, but is {shown(value)}.")
    return float(value)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Wait until no other process trains the supernet of a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock")
        with file_locked(lock):
            yield
            lock.unlink()
    except OSError as error:
        raise NasError(
            f"{path.parent} cannot be written: {error.strerror}. Choose another proxy.folder."
        ) from error
