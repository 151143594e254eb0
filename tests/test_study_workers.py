"""A target's search with several workers, played by a stand-in that ends jobs in any order."""

import errno
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler
from test_study import SPACE, CountingProxy, TrainingProxy, close_journals, open_search

from nas.arch import Arch
from nas.errors import NasError, NetworkError
from nas.search.records import Finished
from nas.workers.contract import Ask, Ended, Failure
from nas.workers.jobs import Judging, judge
from nas.workers.local import done

__all__ = ["close_journals"]


@dataclass
class Crew:
    """So many workers; in each round some of them end, in any order."""

    proxy: CountingProxy
    n: int = 4
    n_losses: int = 0
    description: str = "a crew"
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    jobs: dict[int, tuple[Judging, Ask]] = field(default_factory=dict)
    n_under_way: list[int] = field(default_factory=list)
    n_submitted: int = 0

    def submit(self, job: Judging, on_ask: Ask | None = None) -> int:
        assert job.arch.key() not in {other.arch.key() for other, _ in self.jobs.values()}
        assert on_ask is not None
        self.n_submitted += 1
        self.jobs[self.n_submitted] = (Judging.of(json.loads(json.dumps(job.plain()))), on_ask)
        assert len(self.jobs) <= self.n
        return self.n_submitted

    def ended(self, timeout: float | None = None) -> list[Ended]:
        self.n_under_way.append(len(self.jobs))
        numbers = self.rng.permutation(list(self.jobs))[: self.rng.integers(1, self.n + 1)]
        return [self.end(number) for number in numbers.tolist()]

    def end(self, number: int) -> Ended:
        job, ask = self.jobs.pop(number)
        if self.n_losses and self.rng.random() < 0.5:  # half way, to be begun anew
            self.n_losses -= 1
            for epoch, top1 in enumerate(self.proxy.curve(job.arch)[:3], start=1):  # type: ignore[attr-defined]
                if ask([epoch, top1]):
                    break
        return done(lambda job, ask: judge(self.proxy, job, ask), number, job, ask)

    def close(self) -> None:
        pass


class Few(RandomSampler):
    """Draws one of four networks."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, distribution: Any) -> Any:
        drawn = super().sample_independent(study, trial, param_name, distribution)
        free = list(SPACE.choices)[1:3]
        return drawn if param_name in free else distribution.choices[0]


def few(seed: int) -> BaseSampler:
    return Few(seed=seed)


def test_every_trial_is_finished_and_kept_once(tmp_path: Path) -> None:
    proxy = CountingProxy()
    crew = Crew(proxy)
    search = open_search(tmp_path, n_trials=80, workers=crew)
    finished = list(search.run())
    assert [one.number for one in finished] == list(range(80))
    assert len(set(proxy.asked)) == len(proxy.asked) == search.n_networks
    assert sum(one.is_new for one in finished) == search.n_networks
    assert not crew.jobs
    # All are busy, but for the last few trials.
    assert Counter(crew.n_under_way)[4] >= len(crew.n_under_way) - 4
    for one in finished:
        assert one.evaluation.key == SPACE.arch(one.choices).key()
        top1 = CountingProxy().predict([SPACE.arch(one.choices)])[0][0]
        assert one.evaluation.top1 == pytest.approx(top1, rel=1e-15)
    search.storage.close()
    assert open_search(tmp_path, n_trials=80).finished == finished


def test_a_disk_that_is_full_with_networks_under_way_costs_no_finished_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = open_search(tmp_path, n_trials=40, workers=Crew(CountingProxy()))
    running, kept = search.run(), list[Finished]()
    for _ in range(17):
        kept.append(next(running))

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(search.storage._lines._file, "flush", fill, raising=False)  # type: ignore[attr-defined]
        with pytest.raises(NasError, match=r"No space left.*same command again"):
            next(running)
    search.storage.close()
    again = open_search(tmp_path, n_trials=40, workers=Crew(CountingProxy()))
    assert again.finished[:17] == kept
    list(again.run())
    assert [one.number for one in again.finished] == list(range(40))
    again.storage.close()
    assert open_search(tmp_path, n_trials=40).finished == again.finished


def test_a_clock_that_jumps_changes_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trials(folder: Path) -> list[Finished]:
        folder.mkdir()
        search = open_search(folder, n_trials=25, workers=Crew(CountingProxy()))
        found = list(search.run())
        search.storage.close()
        assert [replace(one, seconds=0) for one in open_search(folder, n_trials=25).finished] == [
            replace(one, seconds=0) for one in found
        ]
        return [replace(one, seconds=0) for one in found]

    jumps = np.random.default_rng(0)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            return cls(2026, 1, 1, tzinfo=tz) + timedelta(days=float(jumps.uniform(-3650, 3650)))

    steady = trials(tmp_path / "steady")
    for module in ("study", "journal"):
        monkeypatch.setattr(f"nas.search.{module}.datetime", Clock)
    monkeypatch.setattr("time.time", lambda: float(jumps.uniform(0, 2e9)))
    assert trials(tmp_path / "jumping") == steady


def test_equal_networks_under_way_are_judged_once(tmp_path: Path) -> None:
    proxy = CountingProxy()
    crew = Crew(proxy, n=8)
    search = open_search(tmp_path, n_trials=50, workers=crew, make_sampler=few)
    finished = list(search.run())
    assert len(finished) == 50
    assert len(proxy.asked) == len(set(proxy.asked)) == 4
    assert sum(one.is_new for one in finished) == 4


@dataclass
class FailingOnce(CountingProxy):
    """Fails on each network the first time."""

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means, stds = super().predict(archs)
        if self.asked.count(archs[0].key()) == 1:
            raise NetworkError("not today")
        return means, stds


def test_a_failure_says_nothing_of_a_trial_that_waits(tmp_path: Path) -> None:
    proxy = FailingOnce()
    search = open_search(tmp_path, n_trials=30, workers=Crew(proxy, n=3), make_sampler=few)
    states = Counter(one.evaluation.state for one in search.run())
    assert states == {"failed": 4, "complete": 26}
    assert Counter(proxy.asked) == dict.fromkeys(proxy.asked, 2)


@dataclass
class BadProxy(CountingProxy):
    """Goes wrong in its own way on some networks, or on all."""

    wrong: Callable[[], float] = float
    is_wrong: Callable[[Arch], bool] = lambda _: True

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means, stds = super().predict(archs)
        return (means * self.wrong(), stds) if self.is_wrong(archs[0]) else (means, stds)


def raises(error: BaseException) -> Callable[[], float]:
    def wrong() -> float:
        raise error

    return wrong


WRONG = [
    (raises(ZeroDivisionError("by nothing")), r"ZeroDivisionError: by nothing \(test_study_work"),
    (raises(SystemExit(1)), r"SystemExit: 1 \("),
    (raises(NetworkError("the loss is\nno number.")), "^the loss is no number.$"),
    (lambda: float("nan"), "a proxy must give a finite top-1 and deviation, but gave nan and 0.5"),
]


@pytest.mark.parametrize(("wrong", "reason"), WRONG)
@pytest.mark.parametrize("n", [1, 3])
def test_a_proxy_that_goes_wrong_costs_its_trial(
    tmp_path: Path, wrong: Callable[[], float], reason: str, n: int
) -> None:
    proxy = BadProxy(wrong=wrong, is_wrong=lambda arch: arch.layers[0].act == "hswish")
    crew = None if n == 1 else Crew(proxy, n=n)
    search = open_search(tmp_path, proxy=proxy, workers=crew, n_trials=16, make_sampler=random_acts)
    finished = list(search.run())
    failed = [one for one in finished if one.evaluation.state == "failed"]
    assert {SPACE.arch(one.choices).layers[0].act for one in failed} == {"hswish"}
    assert {SPACE.arch(one.choices).layers[0].act for one in search.whole} == {"relu"}
    for one in failed:
        assert_like(one, reason)
    search.storage.close()
    assert open_search(tmp_path, n_trials=16).finished == finished


def assert_like(one: Finished, reason: str) -> None:
    import re

    assert re.search(reason, one.evaluation.reason)
    assert one.row("tiny")["reason"] == one.attributes()["reason"] == one.evaluation.reason


class Alternating(RandomSampler):
    """Draws h-swish for the stem in every second trial, so that no five fail in a row."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, distribution: Any) -> Any:
        if param_name == "stem.act":
            return ("relu", "hswish")[trial.number % 2]
        return super().sample_independent(study, trial, param_name, distribution)


def random_acts(seed: int) -> BaseSampler:
    return Alternating(seed=seed)


@pytest.mark.parametrize(("wrong", "reason"), WRONG)
def test_a_proxy_that_always_goes_wrong_ends_the_search(
    tmp_path: Path, wrong: Callable[[], float], reason: str
) -> None:
    proxy = BadProxy(wrong=wrong)
    search = open_search(tmp_path, workers=Crew(proxy))
    with pytest.raises(NetworkError, match=reason):
        list(search.run())
    assert [one.evaluation.state for one in search.finished] == ["failed"] * 4


def test_wrong_options_end_the_search_at_once(tmp_path: Path) -> None:
    proxy = BadProxy(wrong=raises(NasError("recipe.epochs must be an integer.")))
    search = open_search(tmp_path, workers=Crew(proxy))
    with pytest.raises(NasError, match=r"recipe\.epochs"):
        list(search.run())
    assert search.finished == []


@dataclass
class Losing(Crew):
    """Loses every second job."""

    def end(self, number: int) -> Ended:
        ended = super().end(number)
        lost = Failure(kind="lost", reason="its worker was killed by SIGKILL")
        return Ended(number=number, failure=lost) if number % 2 else ended


def test_a_worker_that_is_lost_costs_its_trial(tmp_path: Path) -> None:
    search = open_search(tmp_path, n_trials=20, workers=Losing(CountingProxy(), n=1))
    finished = list(search.run())
    assert [one.evaluation.state for one in finished[:6]] == ["failed", "complete"] * 3
    assert finished[0].evaluation.reason == "its worker was killed by SIGKILL"


@pytest.mark.parametrize("n_losses", [0, 5])
def test_a_pruner_hears_of_each_epoch_once(tmp_path: Path, n_losses: int) -> None:
    proxy = TrainingProxy()
    search = open_search(
        tmp_path,
        n_trials=30,
        proxy=proxy,
        pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        make_sampler=lambda seed: RandomSampler(seed=seed),
        workers=Crew(proxy, n=3, n_losses=n_losses),
    )
    finished = list(search.run())
    states = Counter(one.evaluation.state for one in finished)
    assert states["pruned"] > 5
    assert states["complete"] + states["pruned"] == 30
    for one in finished:
        curve = proxy.curve(SPACE.arch(one.choices))
        expected = [
            search.target.objective.values(top1, one.evaluation.ms, 3.0)[0]
            for top1 in curve[: len(one.reports)]
        ]
        assert list(one.reports.values()) == pytest.approx(expected)
        assert list(one.reports) == list(range(1, len(expected) + 1))
        if one.evaluation.state == "complete":
            assert len(one.reports) == proxy.n_epochs
        else:
            assert one.evaluation.top1 == pytest.approx(curve[len(expected) - 1])
