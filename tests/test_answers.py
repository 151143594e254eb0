"""Answers of made tables whose truth is known, and what is said of a table that holds little."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from nas.arch import Arch, Layer
from nas.latency.answers import Answer, Difference, answers, sizes_text, slowest
from nas.latency.pairs import expansion, matched_pairs, properties
from nas.latency.summary import summary, trust
from nas.latency.table import LatencyTable, Row
from nas.space import SearchSpace

SPACE = SearchSpace.load("mobilenet_v3_large").layers()
LARGE = Arch.load("mobilenet_v3_large")


def made(cost: Callable[[Layer], float], header: Mapping[str, str] | None = None) -> LatencyTable:
    rows = {
        layer: Row(layer=layer, ms=cost(layer), source="modelled")
        for layer in dict.fromkeys((*SPACE, *LARGE.layers))
    }
    return LatencyTable(name="made", header=header or {}, rows=rows)


def additive(layer: Layer) -> float:
    """Return a cost in which every property has its own known price."""
    ms = 1.0 + layer.out_channels / 100
    ms += 0.1 if layer.se else 0.0
    ms += 0.03 if layer.act == "hswish" else 0.0
    ms += 0.07 * (layer.kernel - 3) / 2
    return ms + 0.2 * expansion(layer) if layer.op == "mbconv" else ms


def answer(table: LatencyTable, name: str) -> Answer:
    return next(one for one in answers(table) if one.name == name)


@pytest.mark.parametrize(
    ("name", "ms"),
    [
        ("SE instead of none", 0.1),
        ("h-swish instead of ReLU", 0.03),
        ("kernel 5 instead of 3", 0.07),
        ("expansion 4 instead of 3", 0.2),
        ("expansion 6 instead of 4", 0.4),
    ],
)
def test_a_made_table_answers_its_own_prices(name: str, ms: float) -> None:
    found = answer(made(additive), name)
    assert found.ms == pytest.approx(ms)
    assert all(one.ms == pytest.approx(ms) for one in found.differences)


def test_percent_is_of_the_layer_without() -> None:
    table = made(lambda layer: 3.0 if layer.se else 2.0)
    assert answer(table, "SE instead of none").percent == 50
    assert answer(table, "kernel 5 instead of 3").percent == 0


def test_every_pair_of_the_space_is_found() -> None:
    table = made(additive)
    n_se = sum(layer.se > 0 and replace(layer, se=0) in table.rows for layer in table.rows)
    assert answer(table, "SE instead of none").n == n_se > 100


def test_pairs_differ_in_one_property_only() -> None:
    fields = {"h-swish": "act", "SE": "se", "kernel": "kernel", "expansion": "mid_channels"}
    names = matched_pairs(SPACE)
    assert len(names) >= 6
    for name, pairs in names.items():
        field = fields[name.split()[0]]
        for without, layer in pairs:
            same = replace(layer, **{field: getattr(without, field)})
            assert same == without != layer


def test_nothing_is_said_of_what_the_table_does_not_hold() -> None:
    lonely = [Layer.parse("mb k3 16>64>24 s2 re @112"), Layer.parse("head 24>10 @56")]
    assert matched_pairs(lonely) == {}
    rows = {layer: Row(layer=layer, ms=1.0) for layer in lonely}
    names = [name for name, _ in summary(LatencyTable(name="few", header={}, rows=rows))]
    assert names == ["rows", "slowest layer", "slowest layer", "median IQR / ms", "trust"]


def test_sizes_are_told_apart_where_they_differ_much() -> None:
    def percent_of(size: int, percent: float, n: int = 3) -> list[Difference]:
        return [Difference(size=size, ms=0.1, percent=percent)] * n

    differences = (*percent_of(56, 10), *percent_of(112, 30), *percent_of(7, 90, n=2))
    assert sizes_text(Answer(name="SE", differences=differences)) == "@112 +30 %, @56 +10 %"
    alike = (*percent_of(56, 28), *percent_of(112, 30))
    assert sizes_text(Answer(name="SE", differences=alike)) == ""


def test_slowest_layers_come_first() -> None:
    rows = made(lambda layer: float(layer.in_channels)).rows
    found = slowest(rows, 4)
    assert len(found) == 4
    assert found[0].ms == max(row.ms for row in rows.values())
    assert [row.ms for row in found] == sorted((row.ms for row in found), reverse=True)


def test_properties_of_a_block() -> None:
    assert properties(Layer.parse("mb k5 40>120>40 s1 se32 hs @28")) == (
        *("op mbconv", "size @28", "act hswish", "kernel 5", "stride 1"),
        *("with SE", "expansion 3"),
    )
    head = Layer.parse("head 960>1280>1000 hs @7")
    assert properties(head) == ("op head", "size @7", "act hswish")


def test_references_stand_with_the_error_of_the_check() -> None:
    sum_ms = f"{2 * len(LARGE.layers)}.000 ms"
    assert sum_ms in dict(summary(made(lambda _: 2.0)))["mobilenet_v3_large"]
    checked = {"check_networks": "60", "check_mean_error_percent": "1.8"}
    lines = dict(summary(made(lambda _: 2.0, checked)))
    assert lines["mobilenet_v3_large"].endswith("the sum of its layers, ± 1.8 %")
    assert lines["trust"].startswith("On 60 networks it had not seen, the table errs by 1.8 %")
    assert "mobilenet_v3_small" not in lines


def test_trust_says_where_the_rows_are_from() -> None:
    [(_, modelled)] = trust(made(additive, {"error": "1.5 % on blocks"}))
    assert modelled.startswith("Modelled: ") and modelled.endswith("Its error: 1.5 % on blocks.")
    rows = {layer: Row(layer=layer, ms=1.0) for layer in LARGE.layers}
    [(_, measured)] = trust(LatencyTable(name="host", header={}, rows=rows))
    assert measured.startswith("Not checked on whole networks")


def test_a_calibrated_row_is_as_steady_as_it_was_timed_alone() -> None:
    rows = {layer: Row(layer=layer, ms=1.0, iqr_ms=0.15, isolated_ms=3.0) for layer in LARGE.layers}
    lines = dict(summary(LatencyTable(name="host", header={}, rows=rows)))
    assert lines["median IQR / ms"] == "5.0 %"
    assert "unstable rows" not in lines
