"""Trainings by workers: the results of none, and the store of one."""

import json
from pathlib import Path
from typing import Any

import pytest
from training_data import SMALL, patterns

from nas.errors import NasError, NetworkError
from nas.fidelity.trained import FIRST_SEED, train_truth
from nas.proxies.short_train import ShortTrain
from nas.workers.contract import Ask, Ended, Failure
from nas.workers.jobs import Judging, judge
from nas.workers.local import LocalWorkers, done
from nas.workers.trainings import TrainedAhead, ahead

ARCHS = [SMALL, SMALL.scaled(width=2.0), SMALL.scaled(width=3.0)]
RECIPE = {"epochs": 1, "n_images": 32, "batch_size": 16, "resolution": None}


class Elsewhere:
    """Workers with a store of their own; some networks are lost."""

    n = 2
    description = "elsewhere"

    def __init__(self, trainer: ShortTrain, lost: str = "") -> None:
        self.trainer, self.lost = trainer, lost
        self.jobs: list[Judging] = []
        self.n_done = 0

    def submit(self, job: Judging, on_ask: Ask | None = None) -> int:
        self.jobs.append(Judging.of(json.loads(json.dumps(job.plain()))))
        return self.n_done + len(self.jobs) - 1

    def ended(self, timeout: float | None = None) -> list[Ended]:
        job, number = self.jobs.pop(0), self.n_done
        self.n_done += 1
        if job.arch.key() == self.lost:
            return [Ended(number=number, failure=Failure(kind="lost", reason="it is gone"))]
        return [done(lambda job, ask: judge(self.trainer, job, ask), number, job, str)]

    def close(self) -> None:
        pass


def short_train(folder: Path, **options: Any) -> ShortTrain:
    return ShortTrain(patterns(), RECIPE, folder=folder, **options)


def test_what_workers_trained_is_not_trained_again_and_is_the_same(tmp_path: Path) -> None:
    plain = short_train(tmp_path / "plain", repeats=2)
    means, stds = plain.predict(ARCHS)
    theirs = short_train(tmp_path / "theirs")
    ours = short_train(tmp_path / "ours", repeats=2)
    trainer = TrainedAhead(ours, Elsewhere(theirs))
    counts: list[int] = []
    trainer.train_ahead(ARCHS, on_done=counts.append)
    assert counts == [1, 2, 3, 4, 5, 6]
    found, found_stds = trainer.predict(ARCHS)
    assert found.tolist() == means.tolist()
    assert found_stds.tolist() == stds.tolist()
    assert (ours.n_trained, theirs.n_trained) == (0, 6)
    idle = Elsewhere(theirs)
    TrainedAhead(ours, idle).train_ahead(ARCHS)
    assert idle.n_done == 0


def test_a_training_whose_worker_is_lost_fails_when_asked_for(tmp_path: Path) -> None:
    ours = short_train(tmp_path / "ours")
    workers = Elsewhere(short_train(tmp_path / "theirs"), lost=ARCHS[1].key())
    trainer = TrainedAhead(ours, workers)
    truths = train_truth(
        trainer, ARCHS, "here", n_trainings=2, on_step=lambda what, done, total: None
    )
    assert list(truths.reasons.items()) == [(ARCHS[1].key(), "it is gone")]
    assert ours.n_trained == 0
    alone = short_train(tmp_path / "alone")
    for row, seed in enumerate((FIRST_SEED, FIRST_SEED + 1)):
        for column in (0, 2):
            assert truths.top1[row, column] == alone.train(ARCHS[column], seed).top1
    with pytest.raises(NetworkError, match="it is gone"):
        trainer.train(ARCHS[1], FIRST_SEED)


def test_wrong_options_end_it(tmp_path: Path) -> None:
    class Wrong(Elsewhere):
        def ended(self, timeout: float | None = None) -> list[Ended]:
            failure = Failure(kind="options", reason="recipe.epochs must be an integer.")
            return [Ended(number=0, failure=failure)]

    trainer = TrainedAhead(short_train(tmp_path), Wrong(short_train(tmp_path)))
    with pytest.raises(NasError, match=r"recipe\.epochs"):
        trainer.train_ahead(ARCHS[:1])


def test_this_process_alone_trains_as_before(tmp_path: Path) -> None:
    trainer = short_train(tmp_path)
    assert ahead(trainer, LocalWorkers(lambda job, ask: None)) is trainer
