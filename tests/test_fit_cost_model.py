"""Fitting the cost model: its reader, its solvers by hand, its figures on rows left out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas.errors import NasError
from nas.latency.bounds import sizes_of
from nas.latency.cost_model import CostModel
from nas.latency.features import priced_ops
from nas.latency.fit_cost_model import CostModelFit, non_negative_fit, predicted_ms
from nas.latency.fit_report import by_group, summary
from nas.latency.hswish import HSWISH_MS, HswishEffect
from nas.latency.isotonic import covering_pairs, isotonic
from nas.latency.timed_blocks import DEVICES, read_timed_blocks

TIMED = Path(__file__).parents[2] / "shared" / "data" / "pixel_blocks.csv"
needs_timed = pytest.mark.skipif(not TIMED.exists(), reason="needs pixel_blocks.csv")
# Mean absolute relative errors in percent that the model must stay below.
TARGETS = {"pixel_cpu": (1.3, 1.2), "pixel4_cpu": (1.8, 2.3), "pixel6_cpu": (1.6, 1.0)}
WITHOUT_A_GROUP = 6.0
TRUTH = CostModel(
    device="made up",
    terms={"conv.macs_rows4": 1e-7, "depthwise.calls": 0.01, "linear.weights[0..1024]": 1e-6},
    hswish_ms=0.0,
)


def made_up_table(n_rows: int = 120) -> pd.DataFrame:
    """Return blocks with invented sizes, and times that `TRUTH` gives them."""
    rng = np.random.default_rng(0)
    channels = 8 * rng.integers(2, 9, size=(2, n_rows))
    table = pd.DataFrame({"kind": "mbconv", "h_in": rng.integers(4, 33, n_rows)})
    table = table.assign(c_in=channels[0], c_out=channels[1], expand=rng.integers(2, 7, n_rows))
    table = table.assign(stride=1, kernel=3, act="hswish", se=1, shortcut="conv1x1")
    table.loc[table["c_in"] == table["c_out"], "shortcut"] = "identity"
    return table.assign(**dict.fromkeys(DEVICES.values(), 1.0))


def with_times(table: pd.DataFrame, path: Path) -> Path:
    """Write the table with the times of `TRUTH`."""
    table.to_csv(path, index=False)
    blocks = read_timed_blocks(path)
    ms = predicted_ms(TRUTH, blocks, range(len(blocks)))
    table.assign(**dict.fromkeys(DEVICES.values(), ms)).to_csv(path, index=False)
    return path


def test_a_row_is_a_layer_and_its_convolved_shortcut(tmp_path: Path) -> None:
    table = made_up_table()
    strided = {"h_in": 7, "c_in": 16, "c_out": 24, "expand": 4, "stride": 2, "kernel": 5}
    table.loc[0, list(strided)] = list(strided.values())
    table.loc[0, "shortcut"] = "avgpool2+conv1x1"
    table.to_csv(tmp_path / "blocks.csv", index=False)
    blocks = read_timed_blocks(tmp_path / "blocks.csv")
    assert [str(layer) for layer in blocks.cores[0]] == ["mb k5 16>64>24 s2 se16 hs @7"]
    assert [(op.kind, op.size, op.out_size) for op in blocks.shortcuts[0]] == [
        ("downsample", 7, 4),
        ("conv", 4, 4),
        ("add", 4, 4),
    ]


@needs_timed
def test_multiply_adds_are_those_of_the_file() -> None:
    blocks, table = read_timed_blocks(TIMED), pd.read_csv(TIMED)
    macs = [
        sum(op.macs for layer in core for op in priced_ops(layer)) + sum(op.macs for op in shortcut)
        for core, shortcut in zip(blocks.cores, blocks.shortcuts, strict=True)
    ]
    np.testing.assert_allclose(np.array(macs) / 1e6, table["macs_m"], rtol=1e-5)


BROKEN: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "column": (lambda table: table.drop(columns="stride"), "no column 'stride'"),
    "kind": (lambda table: table.assign(kind="mbcon"), "Did you mean mbconv"),
    "shortcut": (lambda table: table.assign(shortcut="conv"), "unknown shortcut"),
    "text": (lambda table: table.assign(pixel1_ms="fast"), "positive number of ms, but is 'fast'"),
    "negative": (
        lambda table: table.assign(pixel4_ms=-1.0),
        "line 2: pixel4_ms must be a positive",
    ),
    "nan": (lambda table: table.assign(pixel6_ms=np.nan), "line 2: pixel6_ms must be a positive"),
    "fraction": (lambda table: table.assign(h_in=7.5), "column h_in"),
    "few": (lambda table: table.head(20), "but has 20"),
    "act": (lambda table: table.assign(act="gelu"), "line 2: unknown activation 'gelu'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    change, message = BROKEN[case]
    change(made_up_table()).to_csv(tmp_path / "blocks.csv", index=False)
    with pytest.raises(NasError) as error:
        read_timed_blocks(tmp_path / "blocks.csv")
    assert message in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(NasError, match=r"nowhere\.csv"):
        read_timed_blocks("nowhere.csv")


def test_prices_are_found_again_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (200, 4))
    features[:, 3] = 0
    target = features @ np.array([2.0, 0.5, 0.0, 1.0])
    prices = non_negative_fit(features, target, target, n_rounds=4)
    # The last feature is in no row: nothing says what it costs.
    np.testing.assert_allclose(prices, [2.0, 0.5, 0.0, 0.0], atol=1e-3)
    assert (non_negative_fit(features, -target, target, n_rounds=1) == 0).all()


def test_isotonic_values_are_those_of_least_absolute_error() -> None:
    pairs = ([0, 1, 2], [1, 2, 3])
    values = isotonic(pairs, np.array([1.0, 5.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0, 1.0]))
    np.testing.assert_allclose(values, [1.0, 2.0, 2.0, 4.0], atol=1e-6)


def test_covering_pairs_are_the_nearest_comparable_blocks() -> None:
    rows = [(1, 1, 8, 16), (1, 1, 8, 24), (1, 1, 9, 24), (1, 1, 9, 16), (2, 1, 9, 24)]
    pairs = covering_pairs(np.array(rows, dtype=np.int32))
    assert set(zip(*pairs, strict=True)) == {(0, 1), (0, 3), (1, 2), (3, 2)}


def test_hswish_takes_the_published_share_of_the_all_relu_time() -> None:
    effect = HswishEffect.published()
    model = CostModel(device="d", terms={"conv.calls": 1.0}, hswish_ms=0.0)
    all_relu_ms = model.predict_many_ms(effect.all_relu).sum()
    added = effect.per_element_ms(model) * effect.elements / all_relu_ms
    assert len(added) == len(HSWISH_MS)
    assert (np.abs(added - effect.shares) < 0.004).all()


def test_a_fit_finds_the_times_of_a_known_model(tmp_path: Path) -> None:
    blocks = read_timed_blocks(with_times(made_up_table(), tmp_path / "blocks.csv"))
    fitted = CostModelFit(blocks)
    errors = fitted.cross_validate(blocks.ms["pixel_cpu"])
    assert np.abs(errors).mean() < 0.03
    model = fitted.fit(blocks.ms["pixel_cpu"], device="pixel_cpu")
    assert min(model.terms.values()) > 0
    assert sizes_of([]).shape[1] == fitted.sizes.shape[1]


def test_a_report_has_the_mean_and_the_worst_of_each_group() -> None:
    found = by_group(np.array([0.01, -0.03, 0.1]), np.array([4, 4, 5]))
    assert found == {"4": 2.0, "5": 10.0}
    lines = summary({"a fifth of the rows": {"mbconv": 1.0}, "a resolution": found})
    assert lines == {
        "a fifth of the rows: mbconv": 1.0,
        "a resolution: mean": 6.0,
        "a resolution: worst": 10.0,
    }


LONG = pytest.mark.long


@pytest.fixture(scope="module")
def fitted() -> CostModelFit:
    return CostModelFit(read_timed_blocks(TIMED))


@pytest.mark.long
@needs_timed
@pytest.mark.slow
@pytest.mark.parametrize(
    "device", ["pixel_cpu", *(pytest.param(name, marks=LONG) for name in list(DEVICES)[1:])]
)
def test_timed_blocks_left_out_are_predicted(fitted: CostModelFit, device: str) -> None:
    kinds, ms = np.array(fitted.blocks.kinds), fitted.blocks.ms[device]
    found = by_group(fitted.cross_validate(ms), kinds)
    mbconv, deep = TARGETS[device]
    assert found["mbconv"] <= mbconv
    assert found["mbconv_transds"] <= deep
    is_mbconv = np.char.startswith(kinds, "mbconv")
    for column, value in (("h_in", 4), ("h_in", 128), ("c_in", 16), ("c_out", 320)):
        left_out = is_mbconv & (np.array(fitted.blocks.groups[column]) == value)
        assert 100 * np.abs(fitted.without(left_out, ms)).mean() <= WITHOUT_A_GROUP
