"""Train a few networks, those that teach most, and predict all others from them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Arch
from nas.data.images import ImageData
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.proxies.features import Array
from nas.proxies.guided.candidates import candidates_of
from nas.proxies.guided.choice import choose
from nas.proxies.guided.favourites import favourites
from nas.proxies.guided.lesson import Lesson
from nas.proxies.guided.regression import LEAST_LABELS, GuidedRegression
from nas.proxies.short_train import ShortTrain
from nas.space import SearchSpace
from nas.steps import OnStep
from nas.text import integer
from nas.training.recipe import Recipe
from nas.training.required import recipe_of, required_data
from nas.workers.contract import Workers
from nas.workers.trainings import ahead

if TYPE_CHECKING:
    from nas.search.records import Proxy, Target


class Guided:
    """A proxy that short-trains `n_train` networks of each searched space, and predicts the rest.

    About half of them are chosen to teach the regression most; the others, in `rounds`, are what it
    then holds for the best within the target, so that it becomes surest where the search will look.
    The search that follows asks the regression alone.

    Every training is stored (see `ShortTrain`), and the same ones are chosen again: an interrupted
    run goes on where it was.

    Args:
        data: what is trained on; its test part is never looked at.
        recipe: a `Recipe`, or some of its fields.
        n_train: networks to train, of each space.
        rounds: times that favourites are named and trained.
        n_candidates: random networks of each space, out of which the first are chosen.
        n_evaluations: networks that a search for favourites asks the regression about.
        repeats, seed, folder, device, threads: see `ShortTrain`.
        trainer: what trains, in place of a `ShortTrain` of these options.

    Raises:
        NasError: an option out of its bounds, or a recipe that is none.
    """

    def __init__(
        self,
        data: ImageData | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        *,
        n_train: int = 40,
        rounds: int = 4,
        n_candidates: int = 1000,
        n_evaluations: int = 4000,
        repeats: int = 1,
        seed: int = 0,
        folder: str | Path = "runs/trained",
        device: str = "auto",
        threads: int | None = 1,
        trainer: "Proxy | None" = None,
    ) -> None:
        self.n_train = integer(n_train, "n_train", 2 * LEAST_LABELS, 5000)
        self.rounds = integer(rounds, "rounds", 0, 1000)
        self.n_candidates = integer(n_candidates, "n_candidates", 2 * LEAST_LABELS, 100_000)
        self.n_evaluations = integer(n_evaluations, "n_evaluations", 256)
        self.seed = integer(seed, "seed", 0, 2**31 - 1)
        self._data, self._recipe = data, recipe_of(recipe)
        self._training: dict[str, Any] = {
            "repeats": repeats,
            "seed": seed,
            "folder": folder,
            "device": device,
            "threads": threads,
        }
        self._trainer = trainer
        self.start_workers: Callable[[], Workers] | None = None
        """Who trains in place of this process; see `trainer_node`."""
        self._taught: dict[str, GuidedRegression] = {}
        self._resolutions: set[int] = set()

    def prepare(self, targets: Sequence["Target"], table: LatencyTable, on_step: OnStep) -> None:
        """Train `n_train` networks of each target's space, and learn from them.

        A network that cannot be trained costs its place and is left out.

        Raises:
            NasError: no data are chosen, the table lacks a layer, or nearly no training succeeds.
        """
        trainer = self._trainer or self._short_train()
        if self.start_workers is None:
            self._learn_with(trainer, targets, table, on_step)
            return
        with closing(self.start_workers()) as workers:
            self._learn_with(ahead(trainer, workers), targets, table, on_step)

    def trainer_node(self) -> dict[str, Any]:
        """Return the config node of what trains, for workers to make it."""
        return {
            "_target_": "nas.proxies.short_train.ShortTrain",
            "data": None,
            "recipe": asdict(self._recipe),
            **self._training,
            "folder": str(self._training["folder"]),
        }

    def _learn_with(
        self,
        trainer: "Proxy",
        targets: Sequence["Target"],
        table: LatencyTable,
        on_step: OnStep,
    ) -> None:
        by_space: dict[SearchSpace, list[Target]] = {}
        for target in targets:
            by_space.setdefault(target.space, []).append(target)
        taught: dict[str, GuidedRegression] = {}
        total = self.n_train * len(by_space)
        for number, (space, its_targets) in enumerate(by_space.items()):
            lesson = Lesson(
                space=space,
                targets=its_targets,
                table=table,
                trainer=trainer,
                on_trained=_counter(on_step, space, number * self.n_train, total),
            )
            taught[space.name] = self._teach(lesson)
        self._taught = taught
        self._resolutions = {space.resolution for space in by_space}

    def learn(self, archs: Sequence[Arch], top1: ArrayLike) -> None:
        """Forget what was learned before, and learn from networks and their top-1 in percent.

        Raises:
            NasError: too few networks, or numbers that are no percentages.
        """
        self._taught = {"": GuidedRegression.fit(archs, np.asarray(top1, dtype=np.float64))}
        self._resolutions = set()

    def choose(self, candidates: Sequence[Arch], n: int) -> list[int]:
        """Return the indices of the n candidates that would teach most."""
        return choose(candidates, n)

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        """Return mean and standard deviation of the top-1 after a training, in percent.

        A network of none of the searched spaces is predicted by the regression that is surest; one
        for a resolution that none of them has is not, and gets NaN.

        Raises:
            NasError: nothing was learned before.
        """
        if not self._taught:
            raise NasError(
                "proxy guided must learn before it predicts. Call prepare(targets, table, on_step) "
                "or learn(archs, top1) first."
            )
        answers = [np.stack(one.predict(archs)) for one in self._taught.values()]
        numbers = {name: number for number, name in enumerate(self._taught)}
        surest = np.argmin([stds for _, stds in answers], axis=0).tolist()
        own = [numbers.get(arch.name, other) for arch, other in zip(archs, surest, strict=True)]
        means, stds = np.stack(answers)[own, :, np.arange(len(archs))].T
        if self._resolutions:
            is_alien = [arch.resolution not in self._resolutions for arch in archs]
            means[is_alien] = stds[is_alien] = np.nan
        return means, stds

    def _short_train(self) -> ShortTrain:
        data = required_data(self._data, "guided")
        return ShortTrain(data, self._recipe, **self._training)

    def _teach(self, lesson: Lesson) -> GuidedRegression:
        targets_ms = [target.target_ms for target in lesson.targets]
        around = candidates_of(lesson.space, lesson.table, targets_ms, self.n_candidates, self.seed)
        n_first = self.n_train if self.rounds == 0 else max(LEAST_LABELS, -(-self.n_train // 2))
        lesson.train(around[index] for index in choose(around, n_first))
        for number in range(self.rounds):
            n_left = self.n_train - lesson.n_spent
            n_now = -(-n_left // (self.rounds - number))
            lesson.train(self._favourites(lesson, lesson.learned(around), n_now, number))
        return lesson.learned(around)

    def _favourites(
        self, lesson: Lesson, regression: GuidedRegression, n: int, number: int
    ) -> Iterable[Arch]:
        """Return what to train now, of each target in turn as much as of the others."""
        found: dict[str, Arch] = {}
        for place, target in enumerate(lesson.targets):
            new = favourites(
                target,
                lesson.table,
                regression,
                -(-(n - len(found)) // (len(lesson.targets) - place)),
                trained=lesson.seen | found.keys(),
                n_evaluations=self.n_evaluations,
                seed=(self.seed, number, place),
            )
            found |= {arch.key(): arch for arch in new}
        return found.values()


def _counter(on_step: OnStep, space: SearchSpace, before: int, total: int) -> Callable[[int], None]:
    return lambda done: on_step(f"training networks of {space.name}", before + done, total)
