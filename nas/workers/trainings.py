"""Trainings that do not wait for each other, done by workers before anybody asks for them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from nas.arch import Arch
from nas.training.results import TrainingName, TrainingResult, TrainingResults
from nas.workers.contract import Ended, Failure, Workers
from nas.workers.jobs import Judging
from nas.workers.local import LocalWorkers


class Trainer(Protocol):
    """What trains and keeps the results: `nas.proxies.short_train.ShortTrain`."""

    results: TrainingResults
    seed: int
    repeats: int

    def name_of(self, arch: Arch, seed: int) -> TrainingName:
        """Return what the result of a training is stored under."""

    def train(self, arch: Arch, seed: int) -> TrainingResult:
        """Return what became of one training, from the store or by training now."""

    def predict(self, archs: Sequence[Arch]) -> Any:
        """Return mean and standard deviation of the top-1 of each arch, in percent."""


class TrainedAhead:
    """A trainer with workers: what they reach goes to its store, where it then finds it.

    So the results are the same as without workers, and so is what is not paid for twice. Workers on
    other machines may keep stores of their own.
    """

    def __init__(self, trainer: Trainer, workers: Workers) -> None:
        self.trainer, self.workers = trainer, workers
        self.seed, self.repeats = trainer.seed, trainer.repeats
        self._failures: dict[TrainingName, Failure] = {}

    def train_ahead(
        self,
        archs: Sequence[Arch],
        seeds: Iterable[int] | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> None:
        """Train each arch with each seed, by default those of `predict`.

        `on_done` is told how many of the trainings there are by now.

        Raises:
            NasError: options that are wrong for all of them; a training that fails raises when it
                is asked for.
        """
        seeds = self._seeds() if seeds is None else list(seeds)
        wanted = {self.trainer.name_of(arch, seed): arch for seed in seeds for arch in archs}
        jobs = dict[int, TrainingName]()
        for name, arch in wanted.items():
            if not self._is_known(name):
                jobs[self.workers.submit(Judging(arch=arch, seed=name.seed))] = name
        while jobs:
            for ended in self.workers.ended():
                self._keep(jobs.pop(ended.number), ended)
                if on_done is not None:
                    on_done(len(wanted) - len(jobs))

    def train(self, arch: Arch, seed: int) -> TrainingResult:
        """Return what became of one training.

        Raises:
            NetworkError: it failed, or its worker did.
        """
        failure = self._failures.get(self.trainer.name_of(arch, seed))
        if failure is not None:
            raise failure.error()
        return self.trainer.train(arch, seed)

    def predict(self, archs: Sequence[Arch]) -> Any:
        """Return mean and standard deviation of the top-1 of each arch, in percent.

        Raises:
            NetworkError: a training failed, or its worker did.
        """
        for arch in archs:
            for seed in self._seeds():
                self.train(arch, seed)
        return self.trainer.predict(archs)

    def _seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.repeats))

    def _is_known(self, name: TrainingName) -> bool:
        stored = self.trainer.results.get(name)
        return name in self._failures or (stored is not None and stored.state != "stopped")

    def _keep(self, name: TrainingName, ended: Ended) -> None:
        if ended.failure is None:
            if not self._is_known(name):
                self.trainer.results.add(TrainingResult.parse(ended.value.encode()))
        elif ended.failure.kind == "options":
            raise ended.failure.error()
        else:
            self._failures[name] = ended.failure


def ahead(trainer: Any, workers: Workers) -> Any:
    """Return a trainer with workers, or the trainer as it is where they are this process alone."""
    return trainer if isinstance(workers, LocalWorkers) else TrainedAhead(trainer, workers)
