"""Short training: what it says of a network, and that no training is ever paid for twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from training_data import SMALL, patterns

from nas.arch import Arch
from nas.data.images import ImageData
from nas.errors import NasError
from nas.paths import SHIPPED
from nas.proxies import short_train
from nas.proxies.short_train import ShortTrain
from nas.training.batches import suited
from nas.training.conditions import DivergedError, TrainingError
from nas.training.fit import OnEpoch, Training, train_arch
from nas.training.recipe import Recipe
from nas.training.spread import USUAL_STD

RECIPE: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, "augment": False}
OTHER = replace(SMALL.scaled(2.0), name="other")


class Counted:
    """Stands for `train_arch`: counts, and gives 10 x epoch + seed, or the top-1 set for a seed."""

    def __init__(self) -> None:
        self.paid = list[tuple[str, int]]()
        self.data = list[ImageData]()
        self.error: Exception | None = None

    def __call__(
        self,
        arch: Arch,
        data: ImageData,
        recipe: Recipe,
        *,
        seed: int,
        on_epoch: OnEpoch,
        **options: object,
    ) -> Training:
        self.paid.append((arch.name, seed))
        self.data.append(data)
        if self.error is not None:
            raise self.error
        history = list[float]()
        for epoch in range(1, 5):
            history.append(10.0 * epoch + seed)
            if on_epoch(epoch, history[-1]) and epoch < 4:
                break
        return Training(
            top1=history[-1], history=tuple(history), seconds=0.5, is_whole=len(history) == 4
        )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted()
    monkeypatch.setattr(short_train, "train_arch", made)
    return made


Make = Callable[..., ShortTrain]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def proxy(**options: Any) -> ShortTrain:
        return ShortTrain(patterns(), RECIPE, folder=tmp_path, **options)

    return proxy


def test_the_mean_is_the_accuracy_of_the_training(make: Make) -> None:
    proxy = make(seed=3)
    means, stds = proxy.predict([SMALL])
    assert means.dtype == stds.dtype == np.float64 and means.shape == stds.shape == (1,)
    alone = train_arch(SMALL, patterns(), Recipe(**RECIPE), seed=3)
    assert means[0] == alone.top1
    again = make(seed=3)
    assert again.predict([SMALL])[0] == means
    assert (proxy.n_trained, again.n_trained) == (1, 0)
    stored = again.train(SMALL, 3)
    assert stored.history == alone.history and stored.network() == SMALL and stored.seconds > 0


def test_no_training_is_paid_for_twice(counted: Counted, make: Make) -> None:
    proxy = make()
    proxy.predict([SMALL, OTHER, SMALL])
    proxy.predict([replace(SMALL, name="renamed")])
    make().predict([SMALL])
    assert counted.paid == [("small", 0), ("other", 0)]
    make(repeats=2).predict([SMALL])
    assert counted.paid[2:] == [("small", 1)]


@pytest.mark.parametrize("what", ["recipe", "data"])
def test_another_recipe_or_other_data_are_another_training(
    counted: Counted, tmp_path: Path, what: str
) -> None:
    data, recipe = patterns(), dict(RECIPE)
    ShortTrain(data, recipe, folder=tmp_path).predict([SMALL])
    if what == "recipe":
        recipe["weight_decay"] = 0.1
    else:
        data = replace(data, digest="of other images")
    ShortTrain(data, recipe, folder=tmp_path).predict([SMALL])
    assert len(counted.paid) == 2


def test_the_deviation_is_that_of_the_mean_of_the_repeats(counted: Counted, make: Make) -> None:
    assert make().predict([SMALL])[1] == [USUAL_STD]
    means, stds = make(repeats=3).predict([SMALL, OTHER])
    assert (means == 41).all()  # of 40, 41 and 42
    pooled = (4 * USUAL_STD**2 + 2 * 2) / (4 + 2 * 2)
    assert stds == pytest.approx([(pooled / 3) ** 0.5] * 2)
    assert make().std() == pytest.approx(pooled**0.5)


class Told:
    """Stops after an epoch, and keeps what it is told."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.epochs = list[tuple[int, float]]()

    def __call__(self, epoch: int, top1: float) -> bool:
        self.epochs.append((epoch, top1))
        return self.stop_after is not None and epoch >= self.stop_after


def test_a_stopped_training_is_no_result_and_not_paid_for_again(
    counted: Counted, make: Make
) -> None:
    for _ in range(2):
        told = Told(stop_after=2)
        assert make().evaluate(SMALL, told) is None
        assert told.epochs == [(1, 10.0), (2, 20.0)]
    assert make().evaluate(SMALL, Told(stop_after=1)) is None
    assert len(counted.paid) == 1

    told = Told(stop_after=3)  # must train again, and tells what is known once
    assert make().evaluate(SMALL, told) is None
    assert told.epochs == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert len(counted.paid) == 2

    assert make().predict([SMALL])[0] == [40]
    assert len(counted.paid) == 3


def test_a_whole_training_is_told_and_not_stopped(counted: Counted, make: Make) -> None:
    assert make().evaluate(SMALL, Told(stop_after=1)) is None
    told = Told()
    assert make().evaluate(SMALL, told) == (40, USUAL_STD)
    for again in (told, Told(), Told(stop_after=1)):
        if again is not told:
            assert make().evaluate(SMALL, again) == (40, USUAL_STD)
        assert again.epochs == [(epoch, 10.0 * epoch) for epoch in range(1, 5)]
    assert len(counted.paid) == 2


def test_only_the_first_repeat_is_told_and_stopped(counted: Counted, make: Make) -> None:
    told = Told()
    found = make(repeats=2).evaluate(SMALL, told)
    assert found is not None and found[0] == 40.5
    assert [epoch for epoch, _ in told.epochs] == [1, 2, 3, 4]
    assert make(repeats=2).evaluate(OTHER, Told(stop_after=1)) is None
    assert counted.paid == [("small", 0), ("small", 1), ("other", 0)]


def test_a_diverged_training_is_paid_for_once(counted: Counted, make: Make) -> None:
    counted.error = DivergedError("the loss must be a number, but was nan.")
    for _ in range(2):
        with pytest.raises(
            TrainingError, match=r"network small \(.*\) cannot be trained: the loss"
        ):
            make().predict([SMALL])
        with pytest.raises(TrainingError):
            make().evaluate(SMALL, Told())
    assert len(counted.paid) == 1


def test_what_another_machine_may_manage_is_not_kept_as_failed(
    counted: Counted, make: Make
) -> None:
    counted.error = TrainingError("memory ran out.")
    with pytest.raises(TrainingError, match=r"network small \(.*\) cannot be trained: memory"):
        make().predict([SMALL])
    counted.error = None
    assert make().predict([SMALL])[0] == [40]


def test_steps_are_told(counted: Counted, make: Make) -> None:
    told = list[tuple[str, int, int]]()
    make(on_step=lambda *step: told.append(step)).predict([SMALL])
    assert told == [("train small", epoch, 4) for epoch in range(1, 5)]


def test_data_are_suited_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[ImageData]()

    def counting(data: ImageData, recipe: Recipe) -> ImageData:
        seen.append(suited(data, recipe))
        return seen[-1]

    counted = Counted()
    monkeypatch.setattr(short_train, "suited", counting)
    monkeypatch.setattr(short_train, "train_arch", counted)
    make().predict([SMALL, OTHER])
    assert len(seen) == 1 and counted.data == [seen[0], seen[0]]


def test_without_data_the_choices_are_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"trains on your data, but none is chosen\.") as raised:
        ShortTrain(folder=tmp_path)
    assert "proxy short_train" in str(raised.value)
    choices = sorted(path.stem for path in (SHIPPED / "conf" / "data").glob("*.yaml"))
    assert f"Add data=digits (choices: {', '.join(choices)})." in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": {"epoch": 3}}, "recipe: unknown key 'epoch'. Did you mean epochs"),
        ({"recipe": {"epochs": 0}}, "recipe.epochs must be an integer from 1"),
        ({"recipe": 3}, "recipe must hold"),
        ({"repeats": 0}, "repeats must be an integer from 1"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"threads": 0}, "threads must be an integer from 1"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        ShortTrain(patterns(), folder=tmp_path, **options)


def test_the_shipped_options_are_all_there_are(tmp_path: Path) -> None:
    path = SHIPPED / "conf" / "proxy" / "short_train.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content.pop("_target_") == "nas.proxies.short_train.ShortTrain"
    assert content.pop("n_trials") >= 1 and content.pop("risk") >= 0
    content.update(data=patterns(), seed=0, folder=tmp_path)
    proxy = ShortTrain(**content)
    assert set(content["recipe"]) == set(Recipe.__slots__)
    assert proxy.recipe == Recipe(**content["recipe"])


SEARCHER = """
import sys
from test_short_train import RECIPE, networks
from training_data import patterns
from nas.proxies.short_train import ShortTrain
proxy = ShortTrain(patterns(), RECIPE, folder=sys.argv[1])
print("begins", flush=True)
proxy.predict(networks(int(sys.argv[2])))
print(proxy.n_trained, flush=True)
"""


def networks(n_networks: int) -> list[Arch]:
    return [SMALL.scaled(1 + number / 8) for number in range(n_networks)]


def searching(folder: Path, n_networks: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SEARCHER, str(folder), str(n_networks)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_two_processes_share_the_trainings(tmp_path: Path) -> None:
    both = [searching(tmp_path, 6) for _ in range(2)]
    printed = [one.communicate()[0].split() for one in both]
    assert [one.returncode for one in both] == [0, 0]
    n_different = len({arch.key() for arch in networks(6)})
    assert sum(int(words[-1]) for words in printed) == n_different
    assert len((tmp_path / "results.jsonl").read_bytes().splitlines()) == n_different


@pytest.mark.slow
def test_a_killed_run_goes_on_with_no_training_repeated(tmp_path: Path) -> None:
    n_networks, store = 12, tmp_path / "results.jsonl"
    first = searching(tmp_path, n_networks)
    while first.poll() is None and not (store.exists() and store.stat().st_size):
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    n_different = len({arch.key() for arch in networks(n_networks)})
    n_stored = store.read_bytes().count(b"\n")
    assert 1 <= n_stored < n_different
    second = searching(tmp_path, n_networks)
    assert int(second.communicate()[0].split()[-1]) == n_different - n_stored
    assert store.read_bytes().count(b"\n") == n_different
