"""The proxy zero_cost: its scale, its order, and how it is chosen."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.objective import Reward
from nas.paths import SHIPPED
from nas.proxies.zero_cost.percent import MEAN_TOP1, TOP1_STD, Array, PercentLine
from nas.proxies.zero_cost.proxy import ZeroCost
from nas.proxies.zero_cost.scorer import Scorer
from nas.search.records import Learner, Target
from nas.space import SearchSpace

TABLE = LatencyTable.load("pixel_cpu")
TINY = SearchSpace.load("tiny")
Steps = list[tuple[str, int, int]]


def target_of(name: str) -> Target:
    space = SearchSpace.load(name)
    return Target(name=name, space=space, target_ms=1.0, objective=Reward(), n_trials=1)


def prepared(*spaces: str, **options: Any) -> tuple[ZeroCost, Steps]:
    """Return a proxy that is ready, and what its preparing told."""
    proxy, steps = ZeroCost(**{"size": 8, "batch_size": 4, "n_prepare": 8, **options}), Steps()

    def on_step(what: str, done: int, total: int) -> None:
        steps.append((what, done, total))

    proxy.prepare([target_of(name) for name in spaces], TABLE, on_step)
    return proxy, steps


def randoms(n: int, seed: int = 0, space: SearchSpace = TINY) -> list[Arch]:
    rng = np.random.default_rng(seed)
    return [space.random(rng) for _ in range(n)]


def test_random_networks_have_the_mean_and_spread_of_the_scale() -> None:
    proxy, steps = prepared("tiny", scores=["params"], n_prepare=64)
    means, stds = proxy.predict(randoms(64))
    assert means.mean() == pytest.approx(MEAN_TOP1)
    assert means.std() == pytest.approx(TOP1_STD)
    assert (stds == 0).all()
    assert [done for _, done, _ in steps] == list(range(1, 65))
    assert {total for *_, total in steps} == {64}


def test_one_line_serves_all_spaces() -> None:
    proxy, steps = prepared("mobilenet_v3_small", "mobilenet_v3_large", scores=["params"])
    small, large = (
        proxy.predict(randoms(8, space=SearchSpace.load(f"mobilenet_v3_{size}")))[0]
        for size in ("small", "large")
    )
    assert (small.mean() + large.mean()) / 2 == pytest.approx(MEAN_TOP1)
    assert np.sqrt((small.var() + large.var()) / 2) == pytest.approx(TOP1_STD)
    assert large.mean() > small.mean() + TOP1_STD
    assert steps[-1][1:] == (16, 16)
    steps = prepared("tiny", "tiny", scores=["params"])[1]
    assert len(steps) == 8


def test_networks_rank_by_the_product_of_the_scores() -> None:
    proxy, _ = prepared("tiny")
    archs = randoms(6, seed=1)
    scorer = Scorer(probe=proxy.probe)
    snips = [scorer.scores(["snip"], arch)["snip"] for arch in archs]
    products = [count_params(arch) * snip for arch, snip in zip(archs, snips, strict=True)]
    assert np.argsort(proxy.predict(archs)[0]).tolist() == np.argsort(products).tolist()


def logs_of(archs: Sequence[Arch]) -> Array:
    return np.log([[count_macs(arch), count_params(arch)] for arch in archs])


def test_standardised_scores_count_alike() -> None:
    proxy, _ = prepared("tiny", scores=["macs", "params"], combination="standardised")
    seen, asked = logs_of(randoms(8)), logs_of(randoms(5, seed=1))
    alike = (asked - seen.mean(axis=0)) / seen.std(axis=0)
    unit = ((seen - seen.mean(axis=0)) / seen.std(axis=0)).sum(axis=1).std()
    expected = MEAN_TOP1 + TOP1_STD * alike.sum(axis=1) / unit
    np.testing.assert_allclose(proxy.predict(randoms(5, seed=1))[0], expected)


def test_percents_stay_percents() -> None:
    line = PercentLine.of([np.array([[0.0], [1.0]])], "logs")
    np.testing.assert_allclose(line.top1(np.array([[-1e3], [0.5], [1e3]])), [0, MEAN_TOP1, 100])


def test_scores_that_tell_nothing_apart_are_refused() -> None:
    for combination in ("logs", "standardised"):
        with pytest.raises(NasError, match="must tell random networks of the space apart"):
            PercentLine.of([np.array([[1.0, 2.0], [1.0, 3.0]])], combination)


def test_networks_of_another_skeleton_are_not_judged() -> None:
    proxy, _ = prepared("mobilenet_v3_large", scores=["params"])
    others = [Arch.load(name) for name in ("mobilenet_v3_small", "mnasnet_a1", "conv_mobilenet")]
    means, stds = proxy.predict([*others, Arch.load("mobilenet_v3_large").with_num_classes(10)])
    assert np.isnan([means[:3], stds[:3]]).all()
    assert np.isfinite([means[3], stds[3]]).all()


def test_the_activation_changes_nothing_unless_asked_for() -> None:
    archs = [
        replace(arch, layers=tuple(_activated(layer, act) for layer in arch.layers))
        for arch in randoms(1)
        for act in ("relu", "hswish")
    ]
    alike, _ = prepared("tiny", scores=["snip"])[0].predict(archs)
    assert alike[0] == alike[1]
    own, _ = prepared("tiny", scores=["snip"], act=None)[0].predict(archs)
    assert own[0] != own[1]


def _activated(layer: Layer, act: str) -> Layer:
    return layer if layer.act == "none" else replace(layer, act=act)


def test_a_network_that_cannot_be_scored_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = randoms(1, seed=7)[0]
    proxy, _ = prepared("tiny", scores=["params", "macs"])
    monkeypatch.setattr(
        "nas.proxies.zero_cost.scorer.COUNTS",
        {"params": count_params, "macs": lambda arch: 0 if arch == bad else count_macs(arch)},
    )
    means, stds = proxy.predict([*randoms(1, seed=8), bad])
    assert np.isfinite([means[0], stds[0]]).all()
    assert np.isnan([means[1], stds[1]]).all()


def test_a_score_that_mostly_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.proxies.zero_cost.scorer.COUNTS", {"macs": lambda _: 0})
    with pytest.raises(NasError, match="most random networks of tiny, but are for 0 of 8"):
        prepared("tiny", scores=["macs"])


def test_nothing_is_predicted_before_it_is_prepared() -> None:
    with pytest.raises(NasError, match="has no scale yet"):
        ZeroCost().predict(randoms(1))


def test_no_networks_have_no_percents() -> None:
    means, stds = prepared("tiny", scores=["params"])[0].predict([])
    assert means.shape == stds.shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ["snipp"]}, "unknown score 'snipp'. Did you mean snip"),
        ({"scores": []}, "scores must be a list"),
        ({"scores": "snip"}, "scores must be a list"),
        ({"scores": [1]}, "unknown score '1'"),
        ({"combination": "sum"}, "unknown combination of scores 'sum'"),
        ({"n_prepare": 2}, "n_prepare must be an integer from 8"),
        ({"act": "swish"}, "unknown act of a probe: 'swish'. Did you mean hswish"),
        ({"batch_size": 1}, "batch_size of a probe must be an integer from 2"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        ZeroCost(**options)


def test_the_shipped_choice_is_a_proxy_that_is_prepared() -> None:
    node = OmegaConf.load(SHIPPED / "conf" / "proxy" / "zero_cost.yaml")
    whole = OmegaConf.create({"data": None, "seed": 3, "proxy": node})
    options = OmegaConf.to_container(whole, resolve=True)
    assert isinstance(options, dict)
    own = {name: v for name, v in options["proxy"].items() if name not in ("risk", "n_trials")}
    proxy = instantiate(own)
    assert isinstance(proxy, ZeroCost)
    assert isinstance(proxy, Learner)
    assert proxy.probe.seed == 3
    assert proxy.names == ("params", "snip")
