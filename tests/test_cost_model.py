"""The cost model: monotone everywhere, true to hand sums, to table 5 and to published orders."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.bounds import Bounds, sizes_of
from nas.latency.cost_model import CostModel
from nas.latency.features import hswish_elements, matrix, priced_ops
from nas.latency.hswish import ALL_RELU_MS, HSWISH_MS, variant
from nas.latency.terms import TERMS
from nas.space import SearchSpace

DEVICES = ("pixel_cpu", "pixel4_cpu", "pixel6_cpu")
TARGETS = {
    "pixel_cpu": {"mbconv": 1.3, "mbconv_transds": 1.2},
    "pixel4_cpu": {"mbconv": 1.8, "mbconv_transds": 2.3},
    "pixel6_cpu": {"mbconv": 1.6, "mbconv_transds": 1.0},
}
PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "published_models.csv"
BASELINES = {
    "V2": "mobilenet_v2",
    "MnasNet-A1": "mnasnet_a1",
    "Mnas-small": "mnasnet_small",
    "V3-Large": "mobilenet_v3_large",
    "V3-Small": "mobilenet_v3_small",
}
BLOCK = Layer(
    op="mbconv",
    size=8,
    in_channels=16,
    mid_channels=64,
    out_channels=16,
    kernel=5,
    se=16,
    act="relu",
)

load = lru_cache(CostModel.load)


def log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))


def random_block(rng: np.random.Generator) -> Layer:
    """Return a block like the timed ones, or one several times as small or large."""
    in_channels = log_uniform(rng, 1, 600) if rng.random() < 0.5 else 8 * log_uniform(rng, 1, 40)
    ratio = rng.choice([1, 2, 3, 4, 6, 1.7, 9])
    mid = max(in_channels, round(in_channels * ratio))
    is_square = rng.random() < 0.4
    return Layer(
        op="mbconv",
        size=log_uniform(rng, 1, 400),
        in_channels=in_channels,
        mid_channels=mid,
        out_channels=in_channels if is_square else log_uniform(rng, 1, 600),
        kernel=int(rng.choice([1, 3, 5, 7, 9])),
        stride=int(rng.choice([1, 2, 3])),
        se=int(rng.choice([0, 1, max(1, mid // 4)])),
        act=str(rng.choice(["none", "relu", "relu6", "hswish"])),
        residual=bool(rng.random() < 0.5),
        linear=bool(rng.random() < 0.8),
    )


def grown(rng: np.random.Generator, layer: Layer) -> list[Layer]:
    """Return layers that do all that a layer does, and more of one thing."""
    names = ["size", "out_channels"]
    names += ["in_channels"] if layer.mid_channels != layer.in_channels else []
    names += ["mid_channels", "se"] if layer.op == "mbconv" else []
    names += ["mid_channels"] if layer.op == "head" and layer.mid_channels else []
    steps = [1, 8, log_uniform(rng, 1, 100)]
    larger = [
        replace(layer, **{name: getattr(layer, name) + step}) for name in names for step in steps
    ]
    if layer.op != "head":
        larger.append(replace(layer, kernel=layer.kernel + 2))
    if layer.act != "none":
        larger.append(replace(layer, act="hswish"))
    elif layer.op != "head":
        larger += [replace(layer, act="relu"), replace(layer, act="hswish")]
    if layer.op == "mbconv":
        larger.append(replace(layer, linear=False))
    # Where mid meets in from either side, the expansion is left out: another block, not a larger.
    had = layer.mid_channels != layer.in_channels
    return [new for new in larger if not had or new.mid_channels != new.in_channels]


def assert_monotone(model: CostModel, pairs: list[tuple[Layer, Layer]]) -> None:
    smaller = model.predict_many_ms([low for low, _ in pairs])
    larger = model.predict_many_ms([high for _, high in pairs])
    # Sums of the same terms in another order differ in the last digits.
    cheaper = np.flatnonzero(larger < smaller * (1 - 1e-9))
    assert not cheaper.size, [
        (str(pairs[i][0]), str(pairs[i][1]), smaller[i], larger[i]) for i in cheaper[:3]
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.slow
def test_a_larger_block_is_never_cheaper(device: str) -> None:
    rng = np.random.default_rng(0)
    layers = [random_block(rng) for _ in range(300)]
    assert_monotone(load(device), [(layer, new) for layer in layers for new in grown(rng, layer)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.slow
def test_a_larger_layer_of_a_space_or_baseline_is_never_cheaper(device: str) -> None:
    rng = np.random.default_rng(1)
    layers = [*SearchSpace.load("mobilenet_v3_large").layers()]
    for name in ("mobilenet_v1", "mobilenet_v2", "conv_mobilenet", "mnasnet_a1"):
        layers += Arch.load(name).layers
    chosen = [layers[i] for i in rng.permutation(len(layers))[:250]]
    assert_monotone(load(device), [(layer, new) for layer in chosen for new in grown(rng, layer)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.slow
def test_a_larger_block_next_to_a_timed_one_is_never_cheaper(device: str) -> None:
    rng, model = np.random.default_rng(2), load(device)
    columns = ("size", "in_channels", "mid_channels", "out_channels", "kernel", "se")
    rows = rng.permutation(len(model.bounds.ms))[:150]
    layers = [
        Layer(
            op="mbconv",
            stride=int(model.bounds.sizes[row, 0]),
            act="relu",
            **dict(zip(columns, map(int, model.bounds.sizes[row, 2:]), strict=True)),  # type: ignore[arg-type]
        )
        for row in rows
    ]
    assert_monotone(model, [(layer, new) for layer in layers for new in grown(rng, layer)])


@pytest.mark.parametrize("device", DEVICES)
def test_hswish_costs_the_share_of_table_5(device: str) -> None:
    model, layers = load(device), Arch.load("mobilenet_v3_large").layers
    all_relu_ms = model.predict_many_ms(variant(layers, None)).sum()
    for fewest, published_ms in HSWISH_MS.items():
        share = model.predict_many_ms(variant(layers, fewest)).sum() / all_relu_ms
        # The table rounds to 0.1 of 50.5 ms; one price an element cannot meet all three exactly.
        assert share == pytest.approx(published_ms / ALL_RELU_MS, abs=0.004)


def test_terms_are_those_summed_by_hand() -> None:
    conv, depthwise = "conv.macs_rows4", "depthwise.more_taps*pixels*channels[64..72]"
    terms = {conv: 2.0, depthwise: 3.0, "depthwise.pixels": 0.5, "linear.calls": 7.0}
    model = CostModel(device="hand", terms=terms, hswish_ms=0.25)
    block = replace(BLOCK, mid_channels=70)
    # 64 pixels; expansion and projection; a 5 x 5 kernel is one step of taps above 3 x 3.
    expected = 2.0 * 2 * 64 * 16 * 70 + 3.0 * 64 * 6 + 0.5 * 64 + 7.0 * 2
    assert model.predict_ms(block) == pytest.approx(expected)
    hswish = replace(block, act="hswish")
    assert model.predict_ms(hswish) == pytest.approx(expected + 0.25 * 2 * 64 * 70)


def test_a_matrix_product_is_charged_for_whole_tiles() -> None:
    model = CostModel(device="hand", terms={"conv.macs_rows6": 1.0}, hswish_ms=0.0)
    layer = Layer(op="conv", size=7, in_channels=2, out_channels=3, act="none")
    assert model.predict_ms(layer) == 54 * 2 * 3


def test_priced_primitives_sum_as_the_matrix_does() -> None:
    model = load("pixel_cpu")
    blocks = [priced_ops(layer) for layer in Arch.load("mobilenet_v3_small").layers]
    terms = [TERMS[name] for name in model.terms]
    expected = matrix(blocks, terms) @ np.array([model.terms[term.name] for term in terms])
    np.testing.assert_allclose(model.terms_ms(blocks), expected, rtol=1e-12)


def test_bounds_hold_a_block_between_smaller_and_larger_timed_ones() -> None:
    def wide(mid: int) -> Layer:
        return replace(BLOCK, mid_channels=mid)

    bounds = Bounds(sizes=sizes_of([wide(48), wide(96)]), ms=np.array([2.0, 3.0]))
    sizes = sizes_of([wide(64), wide(64), wide(64), wide(32), wide(128)])
    clamped = bounds.clamp(sizes, np.array([1.0, 2.5, 4.0, 4.0, 1.0]))
    assert clamped.tolist() == [2.0, 2.5, 3.0, 2.0, 3.0]
    strided = sizes_of([replace(wide(64), stride=2)])
    assert bounds.clamp(strided, np.array([9.0])).tolist() == [9.0]


def test_hswish_elements_are_counted_at_the_outputs() -> None:
    blocks = [priced_ops(replace(BLOCK, act=act, stride=2)) for act in ("relu", "hswish")]
    assert hswish_elements(blocks).tolist() == [0, 64 * 64 + 16 * 64]


@pytest.mark.parametrize("device", DEVICES)
def test_a_saved_model_is_the_same_when_loaded(device: str, tmp_path: Path) -> None:
    model, layers = load(device), Arch.load("mobilenet_v3_large").layers
    model.save(tmp_path / "copy.json")
    copy = CostModel.load(tmp_path / "copy.json")
    assert (copy.device, dict(copy.terms), copy.provenance) == (
        model.device,
        dict(model.terms),
        model.provenance,
    )
    np.testing.assert_array_equal(copy.predict_many_ms(layers), model.predict_many_ms(layers))


def _term(content: dict[str, Any], price: Any) -> None:
    content["terms"]["conv.rows"] = price


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "negative": (lambda content: _term(content, -1.0), "at least 0, but is -1.0"),
    "nan": (lambda content: _term(content, float("nan")), "must be finite"),
    "text": (lambda content: _term(content, "fast"), "at least 0, but is 'fast'"),
    "bool": (lambda content: _term(content, True), "at least 0, but is True"),
    "unknown": (lambda content: content["terms"].update({"conv.row": 1.0}), "conv.rows"),
    "terms": (lambda content: content.update(terms=[]), "must hold `key: value` lines"),
    "missing": (lambda content: content.pop("terms"), "no key 'terms'"),
    "extra": (lambda content: content.update(delta=1), "unknown key 'delta'"),
    "version": (lambda content: content.update(version=9), "version 1, but has 9"),
    "bound": (lambda content: content["bounds"].append("1,0,x"), "must hold 9 numbers"),
    "bounds": (lambda content: content.update(bounds={}), "must be a list of lines"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    path, (break_it, message) = tmp_path / "broken.json", BROKEN[case]
    CostModel(device="d", terms={"conv.calls": 1.0}, hswish_ms=0.0).save(path)
    content = json.loads(path.read_text())
    break_it(content)
    path.write_text(json.dumps(content))
    with pytest.raises(NasError) as error:
        CostModel.load(path)
    assert message in str(error.value)
    assert len(str(error.value)) < 700


def test_a_missing_or_truncated_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="Known: pixel4_cpu, pixel6_cpu, pixel_cpu"):
        CostModel.load("pixel9_cpu")
    path = tmp_path / "cut.json"
    CostModel(device="d", terms={}, hswish_ms=0.0).save(path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(NasError, match="not readable JSON"):
        CostModel.load(path)


@pytest.mark.parametrize("device", DEVICES)
def test_the_shipped_figures_meet_the_targets(device: str) -> None:
    errors = load(device).provenance["mean_errors_percent"]["a fifth of the rows"]
    assert all(errors[kind] <= target for kind, target in TARGETS[device].items())


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs published_models.csv")
@pytest.mark.parametrize("source", ["S1", "S6", "S7"])
def test_published_networks_are_ranked(source: str) -> None:
    table = pd.read_csv(PUBLISHED)
    table = table[(table["source"] == source) & table["pixel1_ms"].notna()]
    table = table[table["model"].isin(BASELINES) & (table["family"] != "V3-paper-Table5")]
    rows = zip(table["model"], table["width"], table["resolution"], strict=True)
    archs = [Arch.load(BASELINES[name]).scaled(width, size) for name, width, size in rows]
    predicted = [load("pixel_cpu").predict_many_ms(arch.layers).sum() for arch in archs]
    assert spearmanr(predicted, table["pixel1_ms"]).statistic >= 0.97
