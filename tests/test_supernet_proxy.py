"""The proxy that judges networks on shared weights."""

import csv
import json
from dataclasses import fields, replace
from math import hypot, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Enter
from test_supernet_training import DATA, stripes

from nas.arch import Arch
from nas.data import digits
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.network.checkpoint import Checkpoint
from nas.objective import Reward
from nas.paths import find
from nas.proxies.supernet import SupernetProxy
from nas.search.__main__ import main as search
from nas.search.records import Target
from nas.space import SearchSpace
from nas.text import read_yaml
from nas.train.__main__ import main as train
from nas.training.recipe import Recipe
from nas.training.supernet_accuracy import SharedAccuracy
from nas.training.supernet_fit import SupernetTraining

SPACE = SearchSpace.load("tiny")
RECIPE: dict[str, Any] = {"epochs": 1, "resolution": 8, "width": 0.25, "batch_size": 32}
OPTIONS: dict[str, Any] = {
    "recipe": RECIPE,
    "n_random": 0,
    "is_bare": False,
    "n_calibration": 32,
}
OUTSIDE = Arch.load("mobilenet_v3_small")
TABLE = LatencyTable.load("pixel_cpu")


def proxy(folder: Path, **options: Any) -> SupernetProxy:
    return SupernetProxy(DATA, folder=folder, **OPTIONS | options)


def target(name: str, space: SearchSpace = SPACE) -> Target:
    return Target(name=name, space=space, target_ms=1.0, objective=Reward(), n_trials=1)


Told = list[tuple[str, int, int]]


def prepared(one: SupernetProxy, *targets: Target) -> Told:
    told: Told = []
    one.prepare(targets or (target("a"),), TABLE, lambda *step: told.append(step))
    return told


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SupernetProxy:
    one = proxy(tmp_path_factory.mktemp("supernets"), n_validation=20)
    prepared(one)
    return one


def test_it_trains_once_for_targets_of_one_space(tmp_path: Path) -> None:
    one = proxy(tmp_path)
    assert prepared(one, target("a"), target("b")) == [
        ("training the supernet of tiny", done, 3) for done in (1, 2, 3)
    ]
    assert prepared(one) == []
    assert list(tmp_path.iterdir()) == [one.file_of(SPACE)]


def test_another_process_pays_nothing(
    trained: SupernetProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = [SPACE.random(seed) for seed in range(3)]
    monkeypatch.setattr(SupernetTraining, "_step", None)
    again = proxy(trained.folder, n_validation=20)
    assert prepared(again) == []
    for found, expected in zip(again.predict(archs), trained.predict(archs), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_each_space_has_a_supernet(tmp_path: Path) -> None:
    other = replace(SPACE, name="other", resolution=64)
    one = proxy(tmp_path)
    assert len(prepared(one, target("a"), target("b", other))) == 6
    means, _ = one.predict([SPACE.random(0), other.random(0)])
    assert np.isfinite(means).all()


def test_deviation_is_that_of_a_share_and_the_spread(trained: SupernetProxy) -> None:
    means, stds = trained.predict([SPACE.random(0), SPACE.random(1)])
    for mean, std in zip(means, stds, strict=True):
        share = mean / 100
        assert std == pytest.approx(hypot(100 * sqrt(share * (1 - share) / 20), 1.0))


def test_the_mean_is_the_share_of_images_that_the_network_gets_right(
    trained: SupernetProxy,
) -> None:
    arch = SPACE.random(2)
    network = trained.network(arch)
    mean, std = DATA.mean_and_std()
    images = DATA.validation.pixels[::2].float() / 255
    images = (images - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        right = network(images).argmax(dim=1) == DATA.validation.labels[::2]
    assert trained.predict([arch])[0][0] == pytest.approx(100 * right.float().mean().item())


def test_networks_of_no_space_are_left_out(trained: SupernetProxy) -> None:
    means, stds = trained.predict([OUTSIDE, SPACE.random(0)])
    assert np.isnan(means[0])
    assert np.isnan(stds[0])
    assert np.isfinite([means[1], stds[1]]).all()
    with pytest.raises(NasError, match="Call prepare with its space"):
        trained.network(OUTSIDE)


def test_no_network_is_judged_twice(
    trained: SupernetProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = SPACE.random(5)
    first, _ = trained.predict([arch])
    monkeypatch.setattr(SharedAccuracy, "top1", None)
    second, _ = trained.predict([arch, arch])
    assert list(second) == [first[0]] * 2


def test_saved_weights_are_those_of_the_network(trained: SupernetProxy, tmp_path: Path) -> None:
    arch = SPACE.random(3)
    trained.save_weights(arch, tmp_path / "start.safetensors")
    checkpoint = Checkpoint.load(tmp_path / "start.safetensors")
    assert checkpoint.arch.key() == Recipe(**RECIPE).network(arch, 2, 8).key()
    network = checkpoint.network()
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(network(images), trained.network(arch)(images))


@pytest.mark.slow
def test_a_winner_begins_its_training_where_the_search_left_it(
    enter: Enter, tmp_path: Path
) -> None:
    words = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "data=digits", "n_trials=2")
    recipe = (f"proxy.recipe.{word}" for word in ("epochs=2", "resolution=8", "flip=false"))
    more = ("sampler=random", "proxy=supernet", "proxy.n_random=1", *recipe)
    searched = enter(search, *words, *more, "hydra.run.dir=search")
    assert searched.returncode == 0, searched.stderr
    winner = Arch.load(tmp_path / "search/winners/tiny.yaml")
    options = read_yaml(tmp_path / "search/.hydra/config.yaml")["proxy"]
    one = SupernetProxy(digits.load(), options["recipe"], n_random=1)
    told: Told = []
    one.prepare_space(SPACE, lambda *step: told.append(step))
    assert not told  # the search had trained it
    one.save_weights(winner, tmp_path / "start.safetensors")
    ((judged,), _) = one.predict([winner])
    trials = csv.DictReader((tmp_path / "search/trials.csv").read_text().splitlines())
    found = next(float(one["top1"]) for one in trials if one["key"] == winner.key())
    assert judged == pytest.approx(found, abs=1e-4)
    # Steps too small to teach anything leave the accuracy where the supernet judged it.
    given = ("arch=search/winners/tiny.yaml", "start=start.safetensors", "data=digits")
    small = ("recipe.epochs=1", "recipe.learning_rate=1e-6", "recipe.flip=false")
    trained = enter(train, *given, *small, "threads=1", "hydra.run.dir=train")
    assert "tiny starts from the weights of tiny_r8" in trained.stdout
    metrics = json.loads((tmp_path / "train/metrics.json").read_text())
    assert metrics["top1"] == pytest.approx(judged, abs=10)
    assert metrics["top1"] > 30  # 10 for no weights at all


def test_weights_that_cannot_be_saved_are_named(trained: SupernetProxy, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="cannot be written"):
        trained.save_weights(SPACE.random(3), tmp_path / "none" / "start.safetensors")


def test_the_file_follows_from_all_that_the_weights_do(tmp_path: Path) -> None:
    ones = [
        proxy(tmp_path),
        proxy(tmp_path, seed=1),
        proxy(tmp_path, n_random=1),
        proxy(tmp_path, n_random=1, is_bare=True),
        proxy(tmp_path, recipe=RECIPE | {"epochs": 2}),
        SupernetProxy(replace(DATA, digest="f"), folder=tmp_path, **OPTIONS),
    ]
    files = [one.file_of(SPACE) for one in ones]
    files.append(ones[0].file_of(SearchSpace.load("mnasnet")))
    files.append(ones[0].file_of(replace(SPACE, sections=SPACE.sections[1:])))
    assert len(set(files)) == len(files)
    assert proxy(tmp_path, spread=3, n_validation=7).file_of(SPACE) == files[0]


def test_without_data_the_choices_are_named() -> None:
    with pytest.raises(NasError, match=r"proxy supernet trains on your data.*data="):
        SupernetProxy()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": {"seconds": 5}}, r"recipe\.seconds is 5\. Set recipe\.epochs"),
        ({"n_random": 0, "is_bare": True}, "n_random must be an integer from 1"),
        ({"n_random": -1}, "n_random must be an integer from 0"),
        ({"spread": -1}, "spread must be from 0 to 100 percent"),
        ({"spread": "much"}, "spread must be"),
        ({"n_calibration": 1}, "n_calibration must be"),
        ({"n_validation": 0}, "n_validation must be"),
        ({"threads": 0}, "threads must be"),
        ({"seed": -1}, "seed must be"),
        ({"save_every": 0}, "save_every must be"),
    ],
)
def test_options_out_of_bounds_are_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasError, match=message):
        proxy(tmp_path, **options)


def test_before_it_is_prepared_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="Call prepare"):
        proxy(tmp_path).predict([SPACE.random(0)])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match=r"cannot be written.*proxy\.folder"):
        prepared(proxy(tmp_path / "file"))


def test_images_of_other_channels_are_named(tmp_path: Path) -> None:
    one = proxy(tmp_path)
    images = stripes(8, 0)
    four = replace(images, pixels=images.pixels.repeat(1, 2, 1, 1)[:, :4])
    one.data = replace(DATA, train=four, validation=four)
    with pytest.raises(NasError, match="cannot learn from stripes"):
        prepared(one)


def test_the_shipped_options_are_the_proxy_s(tmp_path: Path) -> None:
    options = read_yaml(find("conf/proxy", "supernet", ".yaml"))
    assert options.pop("_target_") == "nas.proxies.supernet.SupernetProxy"
    assert options.pop("risk") == 0
    assert options.pop("n_trials") > 0
    assert set(options["recipe"]) == {field.name for field in fields(Recipe)}
    one = SupernetProxy(**options | {"data": DATA, "folder": tmp_path})
    assert one.file_of(SPACE).parent == tmp_path
