"""Rewards by hand, the front and its area by brute force."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.objective import Absolute, Constraint, Pareto, Reward, hypervolume, pareto_front

# A coarse grid, so that ties are common and areas exact.
POINTS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=12)


@pytest.mark.parametrize(
    ("top1", "ms", "reward"),
    [(75.0, 80.0, 75.0), (75.0, 160.0, 75 * 2**-0.07), (75.0, 40.0, 75 * 2**0.07)],
)
def test_soft_reward_by_hand(top1: float, ms: float, reward: float) -> None:
    assert Reward().values(top1, ms, 80.0) == pytest.approx((reward,))


def test_soft_reward_as_the_paper_says() -> None:
    # arXiv:1807.11626: doubling the latency is worth 5 % of relative accuracy at w = -0.07.
    slow, fast = Reward().values(1.05, 2.0, 1.0), Reward().values(1.0, 1.0, 1.0)
    assert slow == pytest.approx(fast, rel=2e-3)


@pytest.mark.parametrize(("ms", "reward"), [(40.0, 75.0), (80.0, 75.0), (160.0, 37.5)])
def test_hard_reward_by_hand(ms: float, reward: float) -> None:
    hard = Reward(exponent=-1, exponent_below=0)
    assert hard.values(75.0, ms, 80.0) == pytest.approx((reward,))


@pytest.mark.parametrize(("ms", "reward"), [(80.0, 75.0), (160.0, 68.0), (40.0, 71.5)])
def test_absolute_reward_by_hand(ms: float, reward: float) -> None:
    assert Absolute(beta=-0.07).values(75.0, ms, 80.0) == pytest.approx((reward,))


def test_constraint_is_broken_above_the_target() -> None:
    assert Constraint().values(75.0, 100.0, 80.0) == (75.0,)
    assert Constraint().violation(100.0, 80.0) == pytest.approx(0.25)
    assert Constraint().violation(80.0, 80.0) == 0
    assert Constraint().violation(60.0, 80.0) < 0


def test_pareto_gives_both() -> None:
    assert Pareto().values(75.0, 100.0, 80.0) == (75.0, 100.0)


@pytest.mark.parametrize("objective", [Reward(), Absolute(), Constraint(), Pareto()])
def test_directions_fit_the_values(objective: Reward | Absolute | Constraint | Pareto) -> None:
    assert len(objective.directions) == len(objective.values(75.0, 60.0, 80.0))
    better, worse = objective.values(76.0, 80.0, 80.0), objective.values(75.0, 80.0, 80.0)
    assert objective.directions[0] == "maximize"
    assert better[0] > worse[0]


@pytest.mark.parametrize("exponent", [0.1, -11.0, nan, inf, -inf])
def test_wrong_exponent_is_an_error(exponent: float) -> None:
    with pytest.raises(NasError, match=rf"exponent must be from -10 to 0, but is {exponent}"):
        Reward(exponent=exponent)
    with pytest.raises(NasError, match="exponent must be from -10 to 0"):
        Reward(exponent_below=exponent)


@pytest.mark.parametrize("beta", [0.0, 0.07, nan, -inf])
def test_wrong_beta_is_an_error(beta: float) -> None:
    with pytest.raises(NasError, match=rf"beta must be below 0, but is {beta}"):
        Absolute(beta=beta)


def dominates(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


@given(POINTS)
def test_front_is_that_of_brute_force(points: list[tuple[int, int]]) -> None:
    ms, top1 = [point[0] for point in points], [point[1] for point in points]
    wanted = [
        index
        for index, point in enumerate(points)
        if point not in points[:index] and not any(dominates(other, point) for other in points)
    ]
    front = pareto_front(ms, top1)
    assert sorted(front) == wanted
    assert [ms[index] for index in front] == sorted(ms[index] for index in front)


@given(POINTS, st.integers(0, 14), st.integers(0, 14))
def test_hypervolume_is_that_of_counted_cells(
    points: list[tuple[int, int]], most_ms: int, least_top1: int
) -> None:
    # A unit cell is dominated when some point lies at its left and above.
    cells = sum(
        any(ms <= x and top1 >= y + 1 for ms, top1 in points)
        for x in range(most_ms)
        for y in range(least_top1, 14)
    )
    ms, top1 = [point[0] for point in points], [point[1] for point in points]
    assert hypervolume(ms, top1, (most_ms, least_top1)) == cells


@pytest.mark.parametrize("wrong", [nan, inf, -inf])
def test_points_must_be_finite(wrong: float) -> None:
    for ms, top1 in (([1.0, wrong], [1.0, 1.0]), ([1.0, 1.0], [wrong, 1.0])):
        with pytest.raises(NasError, match="must be finite"):
            pareto_front(ms, top1)
        with pytest.raises(NasError, match="must be finite"):
            hypervolume(ms, top1, (10.0, 0.0))
    with pytest.raises(NasError, match="must be finite"):
        hypervolume([1.0], [1.0], (wrong, 0.0))
