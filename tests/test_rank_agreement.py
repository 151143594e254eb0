"""Rank statistics against scipy, brute force and the definitions."""

from itertools import permutations
from math import asin, comb, isnan, pi

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from nas.fidelity.rank_agreement import (
    STATISTICS,
    Estimate,
    kendall,
    reachable_tau,
    resamples,
    spearman,
    top_overlap,
)

Array = NDArray[np.float64]
ONCE = np.ones((1, 40))


def series(seed: int, n: int = 40, n_values: int = 8) -> tuple[Array, Array]:
    """Return two related series with many equal values."""
    rng = np.random.default_rng(seed)
    x = rng.integers(n_values, size=n)
    return x.astype(float), np.round(x + rng.normal(0, 2, size=n))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_values", [3, 10**6])
def test_correlations_are_those_of_scipy(seed: int, n_values: int) -> None:
    x, y = series(seed, n_values=n_values)
    assert spearman(x, y, ONCE)[0] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(x, y, ONCE)[0] == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)


def test_a_weight_is_a_copy() -> None:
    x, y = series(0)
    weights = resamples(40, 20, seed=1)
    for name, statistic in STATISTICS.items():
        for counts, found in zip(weights, statistic(x, y, weights), strict=True):
            copies = np.repeat(np.arange(40), counts.astype(int))
            alone = statistic(x[copies], y[copies], np.ones((1, 40)))[0]
            assert found == pytest.approx(alone, abs=1e-12), name
            if name == "kendall":
                assert found == pytest.approx(kendalltau(x[copies], y[copies]).statistic)
            if name == "spearman":
                assert found == pytest.approx(spearmanr(x[copies], y[copies]).statistic)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = series(3)
    weights = resamples(40, 5, seed=0)
    whole = kendall(x, y, weights)
    monkeypatch.setattr("nas.fidelity.rank_agreement._BLOCK", 7)
    assert kendall(x, y, weights) == pytest.approx(whole)


def test_overlap_is_the_mean_over_all_ways_to_break_ties() -> None:
    truth = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0]
    score = [1.0, 9.0, 5.0, 5.0, 5.0, 0.0]
    for n_top in (1, 2, 3, 4):
        shares = []
        for breaking in permutations(range(6)):
            order = sorted(range(6), key=lambda one: (-score[one], breaking[one]))
            shares.append(len(set(order[:n_top]) & set(range(n_top))) / n_top)
        found = top_overlap(score, truth, np.ones((1, 6)), share=n_top / 6)[0]
        assert found == pytest.approx(np.mean(shares))


def test_overlap_with_itself_is_whole_in_every_resample() -> None:
    x, _ = series(0)
    assert top_overlap(x, x, resamples(40, 50, seed=0)) == pytest.approx(np.ones(51))


def test_guessing_reaches_the_share() -> None:
    rng = np.random.default_rng(0)
    found = [top_overlap(rng.random(40), np.arange(40), ONCE, 0.25)[0] for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("name", STATISTICS)
def test_there_is_no_order_in_what_is_constant(name: str) -> None:
    x, constant = np.arange(40.0), np.full(40, 3.0)
    assert isnan(STATISTICS[name](x, constant, ONCE)[0])
    assert isnan(STATISTICS[name](constant, x, ONCE)[0])
    assert isnan(STATISTICS[name](x, x, np.zeros((1, 40)))[0])
    assert isnan(STATISTICS[name](x, x, np.eye(1, 40))[0])


@pytest.mark.parametrize("name", STATISTICS)
def test_what_counts_nowhere_may_be_anything(name: str) -> None:
    x, y = series(2)
    weights = np.ones((1, 40))
    weights[0, 5:9] = 0
    kept = weights[0] > 0
    expected = STATISTICS[name](x[kept], y[kept], np.ones((1, 36)))[0]
    x[5], y[6] = np.nan, np.inf
    assert STATISTICS[name](x, y, weights)[0] == pytest.approx(expected)


def test_resamples_draw_each_network_as_often() -> None:
    weights = resamples(30, 2000, seed=0)
    assert weights[0].tolist() == [1.0] * 30
    assert set(weights.sum(axis=1)) == {30.0}
    assert weights[1:].mean(axis=0) == pytest.approx(np.ones(30), abs=0.1)
    assert weights[1:].var() == pytest.approx(29 / 30, abs=0.05)
    assert np.array_equal(weights, resamples(30, 2000, seed=0))
    assert not np.array_equal(weights, resamples(30, 2000, seed=1))


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = 2 / pi * asin(0.8)  # Kendall's tau of a normal pair with correlation 0.8
    weights = resamples(60, 200, seed=0)
    hits = 0
    for _ in range(200):
        x = rng.normal(size=60)
        y = 0.8 * x + 0.6 * rng.normal(size=60)
        estimate = Estimate.of(kendall(x, y, weights))
        hits += estimate.low <= truth <= estimate.high
    assert 0.88 <= hits / 200 <= 0.99


def test_estimate_without_order_has_no_interval() -> None:
    alone = Estimate.of(np.array([0.5, np.nan, np.nan, np.nan, 0.4]))
    assert (alone.value, isnan(alone.low)) == (0.5, True)
    assert isnan(Estimate.of(np.array([np.nan, 0.1, 0.2])).low)
    assert isnan(Estimate.of(np.array([0.3])).high)
    most = Estimate.of(np.array([0.5, np.nan, *np.linspace(0, 1, 101)]))
    assert (most.low, most.high) == pytest.approx((0.025, 0.975))


def test_reachable_tau_is_what_knowing_the_expected_value_reaches() -> None:
    rng = np.random.default_rng(0)
    expected = rng.normal(size=3000)
    trainings = expected + rng.normal(0, 0.5, size=(3, 3000))
    between = np.mean(
        [kendalltau(trainings[a], trainings[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    )
    for n in (1, 3):
        reached = kendalltau(expected, trainings[:n].mean(axis=0)).statistic
        assert reachable_tau(float(between), n) == pytest.approx(reached, abs=0.01)
    assert reachable_tau(1.0, 2) == pytest.approx(1)
    assert reachable_tau(-0.1, 2) == 0
    assert isnan(reachable_tau(float("nan"), 2))


def test_pairs_are_counted_once_each() -> None:
    order = [2.0, 1.0, 3.0, 4.0]
    assert kendall(order, [1, 2, 3, 4], np.ones((1, 4)))[0] == pytest.approx(1 - 2 / comb(4, 2))
