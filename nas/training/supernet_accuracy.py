"""Judge networks on a supernet's weights: statistics of their own, then validation."""

from dataclasses import dataclass

import torch
from torch import nn

from nas.arch import Arch
from nas.network.build import Network
from nas.network.supernet.supernet import Supernet
from nas.training.batches import Batches
from nas.training.fit import accuracy

CALIBRATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class SharedAccuracy:
    """What a supernet's networks reach on the validation part of the data.

    `n_calibration` training images, the same ones for every network, give the statistics;
    `n_validation` images are judged on (None: all).
    """

    supernet: Supernet
    batches: Batches
    n_calibration: int = 512
    n_validation: int | None = None
    seed: int = 0

    def top1(self, arch: Arch) -> float:
        """Return the top-1 of a network in percent.

        Raises:
            NasError: the space does not hold the arch.
        """
        return accuracy(self.network(arch), self.batches, self.n_validation)

    def network(self, arch: Arch) -> Network:
        """Return a network with a copy of the shared weights and statistics of its own.

        Raises:
            NasError: the space does not hold the arch.
        """
        network = self.supernet.extract(arch)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._calibrate(network)
        return network

    def _calibrate(self, network: nn.Module) -> None:
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        network.eval()  # without dropout
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        generator = torch.Generator().manual_seed(self.seed)
        pixels = self.batches.train.pixels
        rows = torch.randperm(len(pixels), generator=generator)[: self.n_calibration]
        with torch.inference_mode():
            for part in torch.split(rows.to(pixels.device), CALIBRATION_BATCH):
                network(self.batches.normalised(pixels[part]))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()
