"""Searches on the user's own data: `proxy=` names what judges, `data=` what it learns from."""

import csv
import json
from pathlib import Path

import pytest
from conftest import Ended, Enter

from nas.arch import Arch
from nas.search.__main__ import main

TINY = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "hydra.run.dir=run")
RECIPE = ("proxy.recipe.epochs=2", "proxy.recipe.n_images=200", "proxy.recipe.resolution=8")


@pytest.fixture
def search(enter: Enter) -> Enter:
    def run(*words: str) -> Ended:
        return enter(main, *TINY, *words)

    return run


def trials(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "run/trials.csv").read_text().splitlines()))


def trainings(folder: Path) -> int:
    return len((folder / "runs/trained/results.jsonl").read_text().splitlines())


@pytest.mark.parametrize("proxy", ["short_train", "guided", "supernet"])
def test_a_proxy_that_trains_wants_data(search: Enter, proxy: str) -> None:
    done = search(f"proxy={proxy}")
    assert done.returncode == 2
    assert f"proxy {proxy} trains on your data, but none is chosen. Add data=digits" in done.stderr


def test_a_pruner_wants_a_proxy_that_trains(search: Enter) -> None:
    done = search("pruner=median", "n_trials=2")
    assert done.returncode == 2
    assert "pruner=median stops trainings, but proxy surrogate trains no network" in done.stderr


@pytest.mark.slow
def test_a_pruner_wants_one_objective(search: Enter) -> None:
    done = search("proxy=short_train", "data=digits", "pruner=median", "objective=pareto")
    assert done.returncode == 2
    assert "pruner=median needs one figure to judge by" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data=digit",), "unknown data 'digit'. Did you mean digits?"),
        (("data=image_folder", "data.path=none"), "none must be a folder, but there is none"),
        (("data=digits", "data.limit=3"), "data.limit must be an integer from 4"),
        (("data=digits", "+data.colour=1"), "data digits cannot be made"),
        (("data=digits", "proxy.recipe.epochs=0"), "recipe.epochs must be an integer from 1"),
        (("data=digits", "+proxy.recipe.epoch=1"), "unknown"),
        (("data=digits", "proxy.n_trials=0"), "proxy.n_trials must be an integer from 1"),
    ],
)
def test_wrong_options_are_told_before_anything_is_trained(
    search: Enter, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = search("proxy=short_train", *words)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.glob("run/trials.csv"))


@pytest.mark.slow
def test_evolution_with_few_trials_is_called_random(search: Enter) -> None:
    done = search("n_trials=2")
    assert "so that 2 trials are a random search" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_short_training_with_a_pruner_goes_on_and_pays_once(search: Enter, tmp_path: Path) -> None:
    # Of several workers the order, and with it what is stopped, is any.
    once = ("workers=local", "pruner=successive_halving")
    words = ("proxy=short_train", "data=digits", *once, *RECIPE)
    assert search(*words, "n_trials=5").returncode == 0
    paid = trainings(tmp_path)
    before = trials(tmp_path)
    assert {row["state"] for row in before} == {"complete", "pruned"}
    assert search(*words, "n_trials=6").returncode == 0
    assert trials(tmp_path)[:5] == before
    assert trainings(tmp_path) <= paid + 1
    (tmp_path / "run").rename(tmp_path / "first")
    assert search(*words, "n_trials=5").returncode == 0
    assert [row["top1"] for row in trials(tmp_path)] == [row["top1"] for row in before]
    assert trainings(tmp_path) <= paid + 1


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["guided", "supernet", "zero_cost"])
def test_a_search_learns_first_and_then_asks(search: Enter, tmp_path: Path, proxy: str) -> None:
    options = {
        "guided": ("proxy.n_train=8", "proxy.n_candidates=50", "proxy.n_evaluations=300", *RECIPE),
        "supernet": ("proxy.n_validation=100", "proxy.n_calibration=64", *RECIPE),
        "zero_cost": ("proxy.n_prepare=8", "proxy.size=16", "proxy.batch_size=4"),
    }
    words = (f"proxy={proxy}", "data=digits", "n_trials=20", *options[proxy])
    done = search(*words)
    assert done.returncode == 0, done.stderr
    # Networks for other sizes of images are not for a proxy of this space to judge.
    assert "not for the proxy to judge, so not compared: conv_mobilenet" in done.stdout
    winner = Arch.load(tmp_path / "run/winners/tiny.yaml")
    assert winner.resolution == 32
    if proxy == "guided":
        assert trainings(tmp_path) == 8
    kept = json.loads((tmp_path / "run/environment.json").read_text())["search"]
    assert kept["proxy"]["data"]["_target_"] == "nas.data.digits.load"
