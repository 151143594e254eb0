"""The guided regression against hand counts, brute force, made-up truths and ImageNet rows."""

from dataclasses import replace
from functools import cache
from math import log2
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import kendalltau

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params
from nas.errors import NasError
from nas.proxies.accuracy_data import read_bench
from nas.proxies.features import Array
from nas.proxies.guided.choice import MOST_CANDIDATES, choose
from nas.proxies.guided.covariance import Covariance
from nas.proxies.guided.profile import PROPERTIES, Profile
from nas.proxies.guided.regression import GuidedRegression
from nas.proxies.guided.stages import STAGE_PROPERTIES, describe, stages_of
from nas.proxies.guided.tuning import _Posterior, tune
from nas.space import SearchSpace

BENCH = Path(__file__).parents[2] / "shared" / "data" / "mnasnet_space_imagenet_accuracy.csv"
needs_data = pytest.mark.skipif(not BENCH.is_file(), reason="the benchmark's rows are not here")
SPACES = ("mnasnet", "mobilenet_v3_large", "mobilenet_v3_small", "tiny")
LINES = (
    "conv k3 3>16 s2 hs @32",
    "mb k3 16>16>16 s1 re @16",
    "mb k5 16>64>24 s2 se16 hs @16",
    "mb k3 24>48>24 s1 hs @8",
    "conv k1 24>96 s1 hs @8",
    "head 96>10 @8",
)
SMALL = Arch(name="small", layers=tuple(map(Layer.parse, LINES)))


def networks(space: str, n: int, seed: int = 0) -> list[Arch]:
    rng = np.random.default_rng(seed)
    loaded = SearchSpace.load(space)
    return [loaded.random(rng) for _ in range(n)]


def made_up(archs: list[Arch]) -> Array:
    """Return a top-1 that grows with expansion, squeezes and kernels, less and less."""
    points = [
        sum(
            log2(layer.mid_channels / layer.in_channels)
            + 0.5 * (layer.se > 0)
            # h-swish and kernels count more the later they come
            + 0.1 * (layer.kernel > 3) * number
            + 0.05 * (layer.act == "hswish") * number
            for number, layer in enumerate(arch.layers)
            if layer.op == "mbconv"
        )
        for arch in archs
    ]
    return np.array([90 - 60 * np.exp(-each / 15) for each in points])


def test_stages_are_counted_as_by_hand() -> None:
    stages = stages_of([SMALL])
    assert stages == ((16, 16), (8, 24))
    values, whole = describe([SMALL], stages)
    found = {name: row.tolist() for name, row in zip(STAGE_PROPERTIES, values[0], strict=True)}
    params = [count_params(layer) for layer in SMALL.layers]
    assert found == {
        "expansion": pytest.approx([0, (2 + 1) / 2]),
        "depth": [2, 2],
        "kernel": [0, 0.5],
        "se": [0, 0.5],
        "hswish": [0.5, 1],
        "trunk": pytest.approx([log2(sum(params[:2])), log2(sum(params[:4]))]),
        "lead": pytest.approx([0, 2 - 1.5]),
    }
    expected = [log2(count_params(SMALL)), log2(count_macs(SMALL)), 0.5]
    assert whole[0].tolist() == pytest.approx(expected)


def test_a_stage_that_is_new_counts_for_the_nearest() -> None:
    wider = replace(
        SMALL,
        layers=(
            *SMALL.layers[:2],
            Layer.parse("mb k5 16>64>28 s2 se16 hs @16"),
            Layer.parse("mb k3 28>56>28 s1 hs @8"),
            Layer.parse("conv k1 28>96 s1 hs @8"),
            SMALL.layers[-1],
        ),
    )
    stages = stages_of([SMALL])
    depths = [
        describe([arch], stages)[0][0, STAGE_PROPERTIES.index("depth")] for arch in (SMALL, wider)
    ]
    assert depths[0].tolist() == depths[1].tolist() == [2, 2]


def test_networks_are_described_alike_alone_and_together() -> None:
    archs = networks("mobilenet_v3_large", 20)
    profile = Profile.of(archs)
    together = np.hstack(profile(archs))
    alone = np.vstack([np.hstack(profile([arch])) for arch in archs])
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert len(profile(archs)) == len(PROPERTIES)


def test_tuning_climbs_the_slope_that_finite_differences_see() -> None:
    archs = networks("mnasnet", 25)
    parts, targets = Profile.of(archs)(archs), np.random.default_rng(0).normal(size=25)
    posterior = _Posterior(parts, targets, Covariance.expected(len(parts)))
    logs = Covariance.expected(len(parts)).logs() + np.linspace(-0.4, 0.4, len(parts) + 3)

    def value(at: Array) -> float:
        return posterior.at(at)[0]

    def gradient_at(at: Array) -> Array:
        return posterior.at(at)[1]

    assert check_grad(value, gradient_at, logs) < 1e-4
    tuned = tune(parts, targets, Covariance.expected(len(parts)))
    _, gradient, information = posterior.at(tuned.logs())
    assert np.abs(np.linalg.solve(information, gradient)).max() < 5e-3


def test_predictions_are_the_textbooks_posterior() -> None:
    archs = networks("mnasnet", 60)
    top1 = made_up(archs)
    regression = GuidedRegression.fit(archs[:40], top1[:40])
    numbers = regression.covariance
    rows = regression.rows(archs)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    prior = 4 + rows @ rows.T + numbers.bend * np.exp(-0.5 * numbers.curvature * squares)
    seen = prior[:40, :40] + numbers.noise * np.eye(40)
    values = -np.log(101 - top1[:40])
    targets = (values - values.mean()) / values.std()
    told = np.linalg.solve(seen, prior[:40, 40:])
    mean = 101 - np.exp(-(values.mean() + values.std() * (told.T @ targets)))
    variance = np.diag(prior[40:, 40:] - prior[40:, :40] @ told) + numbers.noise
    std = values.std() * np.sqrt(variance) * (101 - mean)
    found = regression.predict(archs[40:])
    np.testing.assert_allclose(found[0], mean, rtol=1e-8)
    np.testing.assert_allclose(found[1], std, rtol=1e-6)


def test_draws_have_the_predicted_mean_and_spread() -> None:
    archs = networks("mnasnet", 60)
    regression = GuidedRegression.fit(archs[:30], made_up(archs[:30]))
    draws = regression.draw(archs[30:], 4000, np.random.default_rng(0))
    mean, std = regression.predict(archs[30:])
    noise = regression.scale * regression.covariance.noise**0.5 * (101 - mean)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(draws.std(axis=0), np.sqrt(std**2 - noise**2), rtol=0.1)


@pytest.mark.parametrize("space", SPACES)
def test_few_noisy_labels_order_any_space_better_than_costs_do(space: str) -> None:
    archs = networks(space, 500)
    truth = made_up(archs)
    noise = 0.2 * truth.std()
    labels = truth + noise * np.random.default_rng(1).normal(size=len(truth))
    regression = GuidedRegression.fit(archs[:60], labels[:60], noise_std=noise)
    mean, std = regression.predict(archs[60:])
    tau = kendalltau(mean, truth[60:]).statistic
    for count in (count_macs, count_params):
        assert tau > 0.1 + kendalltau([count(arch) for arch in archs[60:]], truth[60:]).statistic
    assert tau > 0.8
    errors = (mean - labels[60:]) / std
    assert 0.6 < np.sqrt(np.mean(errors**2)) < 1.4
    assert 0.6 < np.mean(np.abs(errors) < 1) < 0.92


def test_the_same_networks_give_the_same_regression() -> None:
    archs = networks("tiny", 30)
    first, second = (GuidedRegression.fit(archs, made_up(archs)).predict(archs) for _ in range(2))
    assert np.array_equal(first, second)


def test_labels_that_are_all_equal_are_predicted_everywhere() -> None:
    archs = networks("tiny", 30)
    mean, std = GuidedRegression.fit(archs[:10], np.full(10, 70.0)).predict(archs)
    assert mean == pytest.approx(np.full(30, 70.0))
    assert np.isfinite(std).all()


def test_accuracies_near_all_right_stay_percentages() -> None:
    archs = networks("tiny", 40)
    top1 = np.clip(99.0 + np.linspace(-3, 3, 20), 0, 100)
    mean, std = GuidedRegression.fit(archs[:20], top1).predict(archs)
    assert mean.max() <= 100
    assert np.isfinite(std).all()


def test_a_score_that_tells_the_truth_is_believed() -> None:
    archs = networks("mnasnet", 230)
    truth = 60 + np.random.default_rng(0).normal(size=230)  # nothing that a stage could show
    scores = truth[:, None] * 3 - 100
    with_scores = GuidedRegression.fit(archs[:30], truth[:30], scores=scores[:30])
    without = GuidedRegression.fit(archs[:30], truth[:30])
    tau = [
        kendalltau(mean, truth[30:]).statistic
        for mean, _ in (with_scores.predict(archs[30:], scores[30:]), without.predict(archs[30:]))
    ]
    assert tau[0] > 0.5 > 0.3 > tau[1]
    with pytest.raises(NasError, match="fitted with 1 scores a network, but is asked with 0"):
        with_scores.predict(archs)


def test_wrong_labels_are_refused() -> None:
    archs = networks("tiny", 5)
    with pytest.raises(NasError, match="needs 3 trained networks or more"):
        GuidedRegression.fit(archs[:2], np.array([50.0, 60.0]))
    with pytest.raises(NasError, match="got 5 networks and 4 numbers"):
        GuidedRegression.fit(archs, np.full(4, 50.0))
    for wrong in (np.nan, -1.0, 101.0):
        with pytest.raises(NasError, match="percentages from 0 to 100"):
            GuidedRegression.fit(archs, np.array([50.0, 60.0, 55.0, 52.0, wrong]))
    with pytest.raises(NasError, match="scores must be finite"):
        GuidedRegression.fit(archs, np.full(5, 50.0), scores=np.full((5, 1), np.nan))


def left_over(archs: list[Arch], trained: list[Arch]) -> float:
    """Return the sum of the candidates' variances after training some networks."""
    covariance = Covariance.expected(len(PROPERTIES))
    profile = Profile.of(archs)
    rows, known = covariance.rows(profile(archs)), covariance.rows(profile(trained))
    told = covariance.between(rows, known)
    seen = covariance.between(known, known) + covariance.noise * np.eye(len(known))
    return float(np.trace(covariance.between(rows, rows) - told @ np.linalg.solve(seen, told.T)))


def test_the_most_telling_networks_are_chosen() -> None:
    archs = networks("mnasnet", 25)
    chosen = choose(archs, 2)
    picked: list[Arch] = []
    for index in chosen:
        leaves = [left_over(archs, [*picked, arch]) for arch in archs]
        assert index == int(np.argmin(leaves))
        picked.append(archs[index])


def test_no_network_is_chosen_twice() -> None:
    archs = networks("tiny", 30)
    assert choose([*archs, *archs], 100, trained=archs[:10]) == list(
        dict.fromkeys(choose([*archs, *archs], 100, trained=archs[:10]))
    )
    distinct = {arch.key() for arch in archs} - {arch.key() for arch in archs[:10]}
    twice = [*archs, *archs]
    chosen = [twice[index].key() for index in choose(twice, 100, trained=archs[:10])]
    assert sorted(chosen) == sorted(distinct)
    assert choose([], 3) == choose(archs, 0) == []


def test_of_very_many_candidates_some_are_looked_at() -> None:
    archs = networks("tiny", 20) * (MOST_CANDIDATES // 10)
    chosen = choose(archs, 5)
    assert len({archs[index].key() for index in chosen}) == 5


@cache
def imagenet() -> tuple[list[Arch], Array]:
    samples = read_bench(BENCH)
    return [one.arch for one in samples], np.array([one.top1 for one in samples])


def imagenet_tau(n: int, n_repetitions: int) -> float:
    archs, top1 = imagenet()
    found = []
    for repetition in range(n_repetitions):
        order = np.random.default_rng(repetition).permutation(len(archs))
        taught, rest = order[:n], order[-500:]
        regression = GuidedRegression.fit([archs[row] for row in taught], top1[taught])
        mean, _ = regression.predict([archs[row] for row in rest])
        found.append(kendalltau(mean, top1[rest]).statistic)
    return float(np.mean(found))


@needs_data
def test_twenty_labels_order_the_imagenet_networks() -> None:
    assert imagenet_tau(20, 4) > 0.80


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(("n", "bar"), [(20, 0.76), (50, 0.80), (100, 0.85), (150, 0.87)])
def test_the_bars_on_imagenet_hold_with_a_margin(n: int, bar: float) -> None:
    assert imagenet_tau(n, 10) > bar + 0.02
