"""What is asked about a network, as a job for workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.workers.contract import Ask, Ended, Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """One question about a network.

    What a proxy predicts of it; where it `is_watched`, what a proxy says that trains it and tells
    its epochs meanwhile; and with a `seed`, what becomes of one training with that seed.
    """

    arch: Arch
    is_watched: bool = False
    seed: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return the job as JSON can write it."""
        return {
            "name": self.arch.name,
            "layers": [str(layer) for layer in self.arch.layers],
            "scaling": self.arch.scaling,
            "is_watched": self.is_watched,
            "seed": self.seed,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Return the job that `plain` wrote."""
        layers = tuple(map(Layer.parse, plain["layers"]))
        return cls(
            arch=Arch(name=plain["name"], layers=layers, scaling=plain["scaling"]),
            is_watched=plain["is_watched"],
            seed=plain["seed"],
        )


def judge(proxy: Any, job: Judging, ask: Ask) -> list[float] | str | None:
    """Return top-1 and standard deviation in percent; None where an answer stopped the training.

    `proxy` is a `nas.search.records.Proxy`. It asks `[epoch, top1]` after each epoch of a training
    that is watched, and a true answer stops it. Of a training with a seed the line of the
    `nas.training.results.TrainingResult` is returned.
    """
    if job.seed is not None:
        line: bytes = proxy.train(job.arch, job.seed).line()
        return line.decode()
    if not job.is_watched:
        means, stds = proxy.predict([job.arch])
        return [float(means[0]), float(stds[0])]
    found = proxy.evaluate(job.arch, lambda epoch, top1: bool(ask([epoch, float(top1)])))
    return None if found is None else [float(figure) for figure in found]


@dataclass(frozen=True, kw_only=True)
class JudgedByWorkers:
    """A proxy that has its networks judged by workers, which do nothing else meanwhile."""

    workers: Workers

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the top-1 of each arch, in percent.

        Raises:
            NasError: the first failure, when all have ended.
        """
        numbers = [self.workers.submit(Judging(arch=arch)) for arch in archs]
        ended = dict[int, Ended]()
        while len(ended) < len(numbers):
            ended |= {one.number: one for one in self.workers.ended()}
        for number in numbers:
            failure = ended[number].failure
            if failure is not None:
                raise failure.error()
        figures = np.array([ended[number].value for number in numbers], dtype=float)
        means, stds = figures.reshape(len(numbers), 2).T
        return means, stds
