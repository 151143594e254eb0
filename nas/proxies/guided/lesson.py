"""What is trained of one space, and what was learned from it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch
from nas.errors import NasError, NetworkError
from nas.latency.table import LatencyTable
from nas.proxies.guided.regression import LEAST_LABELS, GuidedRegression
from nas.space import SearchSpace
from nas.workers.trainings import TrainedAhead

if TYPE_CHECKING:
    from nas.search.records import Proxy, Target


@dataclass(kw_only=True)
class Lesson:
    """The trainings of one space: `top1` in percent by key, and why the last failed.

    `trainer` trains what it is asked about, and pays for no network twice.
    """

    space: SearchSpace
    targets: list["Target"]
    table: LatencyTable
    trainer: "Proxy"
    on_trained: Callable[[int], None]
    archs: dict[str, Arch] = field(default_factory=dict)
    top1: dict[str, float] = field(default_factory=dict)
    stds: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def n_spent(self) -> int:
        """Return how many networks were trained, in vain or not."""
        return len(self.archs)

    @property
    def seen(self) -> set[str]:
        """Return the keys of those networks."""
        return set(self.archs)

    def train(self, archs: Iterable[Arch]) -> None:
        """Train networks: one after the other, or ahead where the trainer has workers."""
        archs = list(archs)
        if isinstance(self.trainer, TrainedAhead):
            before, repeats = self.n_spent, self.trainer.repeats
            self.trainer.train_ahead(
                archs, on_done=lambda n: self.on_trained(before + n // repeats)
            )
        for arch in archs:
            self.archs[arch.key()] = arch
            try:
                means, stds = self.trainer.predict([arch])
            except NetworkError as error:
                self.failure = str(error)
            else:
                self.top1[arch.key()] = float(means[0])
                self.stds.append(float(stds[0]))
            self.on_trained(self.n_spent)

    def learned(self, around: Sequence[Arch]) -> GuidedRegression:
        """Return the regression of all that were trained.

        Raises:
            NasError: too few of them could be.
        """
        if len(self.top1) < LEAST_LABELS:
            raise NasError(
                f"only {len(self.top1)} of {self.n_spent} networks of {self.space.name} could be "
                f"trained; the last one failed: {self.failure or 'there are no more'}. Change "
                "proxy.recipe, or choose a larger space."
            )
        return GuidedRegression.fit(
            [self.archs[key] for key in self.top1],
            np.array(list(self.top1.values())),
            noise_std=float(np.mean(self.stds)),
            around=around,
        )
