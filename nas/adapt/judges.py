"""What a cut costs in accuracy: by a proxy, or by training on with the weights that are left."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nas.adapt.crop import cropped
from nas.arch import Arch
from nas.data.images import ImageData
from nas.errors import NasError, shown
from nas.network.build import Network
from nas.network.checkpoint import Checkpoint
from nas.training.batches import Batches, device_named, suited
from nas.training.conditions import TrainingError, training_threads
from nas.training.fit import accuracy, train
from nas.training.recipe import Recipe


class Judge(Protocol):
    """Give networks an accuracy, and remember what the one that was taken has learned."""

    def top1(self, arch: Arch) -> float:
        """Return the top-1 in percent that a cut network is taken to have, NaN for none."""

    def take(self, arch: Arch) -> None:
        """Go on from this network."""


class Predicts(Protocol):
    """Answers at once, as every proxy of conf/proxy does that need not learn first."""

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the top-1 of each arch, in percent."""


class ProxyJudge:
    """The mean of a proxy less `risk` standard deviations: no weights, no training."""

    def __init__(self, proxy: Predicts, risk: float = 0.0) -> None:
        self._proxy, self._risk = proxy, risk

    def top1(self, arch: Arch) -> float:
        """Return what the proxy says."""
        means, stds = self._proxy.predict([arch])
        return float(means[0] - self._risk * stds[0])

    def take(self, arch: Arch) -> None:
        """Do nothing: a proxy knows every network alike."""


class FineTuning:
    """Cut the weights of the present network, train them on for a short while, and validate.

    Weights are kept in `folder`: `present.safetensors` of the network that was taken last, and a
    file for each proposal that was trained since, so that an interrupted step goes on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: ImageData,
        recipe: Recipe,
        folder: Path,
        *,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = 1,
    ) -> None:
        if tuple(data.classes) != checkpoint.classes:
            raise NasError(
                f"the checkpoint must know the {len(data.classes)} classes of {data.name}, but it "
                f"knows {len(checkpoint.classes)}: {shown(checkpoint.classes)}. Train it on these "
                "data first."
            )
        resolution = checkpoint.arch.resolution
        self._recipe = replace(recipe, resolution=resolution)
        self._data = suited(data, self._recipe)  # once, not for each proposal
        self._seed, self._device, self._threads = seed, device, threads
        self._folder = folder
        present = folder / "present.safetensors"
        self._present = Checkpoint.load(present) if present.is_file() else checkpoint

    @property
    def present(self) -> Checkpoint:
        """Return the network that was taken last, with its weights."""
        return self._present

    def top1(self, arch: Arch) -> float:
        """Return the validation top-1 after the training; NaN where that diverged.

        The present network itself is validated as it is.
        """
        if arch.key() == self._present.arch.key():
            return self._validated(self._present.network())
        file = self._file(arch)
        if file.is_file():
            return self._validated(Checkpoint.load(file).network())
        checkpoint = cropped(self._present, arch)
        network = checkpoint.network()
        try:
            training = train(
                network,
                self._data,
                self._recipe,
                seed=self._seed,
                device=self._device,
                threads=self._threads,
            )
        except TrainingError:
            return float("nan")
        replace(checkpoint, weights=network.state_dict()).save(file)
        return training.top1

    def take(self, arch: Arch) -> None:
        """Keep the weights of this network, and none of the other proposals'."""
        if arch.key() == self._present.arch.key():
            return
        self._present = Checkpoint.load(self._file(arch))
        self._present.save(self._folder / "present.safetensors")
        for file in self._folder.glob("proposal_*.safetensors"):
            file.unlink()

    def _file(self, arch: Arch) -> Path:
        return self._folder / f"proposal_{arch.key()}.safetensors"

    def _validated(self, network: Network) -> float:
        device = device_named(self._device)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with training_threads(self._threads):
            return accuracy(network, Batches.of(self._data, self._recipe, device=device))
