"""Rows that are chosen and held out: in proportion, disjoint, the same for a seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.split import Rows, choose, hold_out

COUNTS = st.lists(st.integers(2, 40), min_size=2, max_size=8)


def shuffled(counts: list[int], seed: int = 0) -> Rows:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels).astype(np.int64)


@given(counts=COUNTS, share=st.floats(0.001, 0.9), seed=st.integers(0, 10))
@settings(max_examples=200, deadline=None)
def test_each_class_stays_and_is_held_out_in_proportion(
    counts: list[int], share: float, seed: int
) -> None:
    labels = shuffled(counts)
    kept, held = hold_out(labels, share, np.random.default_rng(seed))
    assert sorted([*kept, *held]) == list(range(len(labels)))
    for rows in (kept, held):
        assert rows.tolist() == sorted(rows)
        assert set(labels[rows]) == set(range(len(counts)))
    for number, count in enumerate(counts):
        n_held = int((labels[held] == number).sum())
        # A class gives one row at least, and for each that does so others give less.
        assert abs(n_held - share * count) <= 1 + len(counts)


def test_shares_are_exact_where_they_come_out_even() -> None:
    labels = shuffled([100, 50, 200])
    kept, held = hold_out(labels, 0.1, np.random.default_rng(0))
    assert np.bincount(labels[held]).tolist() == [10, 5, 20]
    assert np.bincount(labels[kept]).tolist() == [90, 45, 180]


@given(counts=COUNTS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_chosen_rows_differ_from_proportion_by_less_than_one(
    counts: list[int], data: st.DataObject
) -> None:
    n_rows = data.draw(st.integers(0, sum(counts)))
    labels = shuffled(counts)
    rows = choose(labels, n_rows, np.random.default_rng(0))
    assert len(set(rows.tolist())) == len(rows) == n_rows
    for number, count in enumerate(counts):
        assert abs((labels[rows] == number).sum() - n_rows * count / sum(counts)) < 1


@given(counts=COUNTS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_rare_classes_get_the_least(counts: list[int], data: st.DataObject) -> None:
    n_rows = data.draw(st.integers(2 * len(counts), sum(counts)))
    labels = shuffled(counts)
    rows = choose(labels, n_rows, np.random.default_rng(0), least=2)
    assert len(rows) == n_rows
    assert np.bincount(labels[rows], minlength=len(counts)).min() >= 2


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_a_seed_holds_out_the_same(share: float) -> None:
    labels = shuffled([30, 40])
    splits = [
        hold_out(labels, share, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2)
    ]
    assert splits[0] == splits[1] != splits[2]
