"""The page of a table: well formed, self-contained, and true to the table and its check."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from html_page import HOSTILE, Page

from nas.arch import Arch
from nas.latency.check import Check, CheckedNetwork
from nas.latency.table import LatencyTable, Row
from nas.report.table_page import render_table_report, report_path
from nas.space import SearchSpace

BASELINES = ("mobilenet_v3_large", "mobilenet_v3_small")


def network(name: str, family: str, predicted_ms: float, measured_ms: float) -> CheckedNetwork:
    return CheckedNetwork(
        name=name,
        family=family,
        predicted_ms=predicted_ms,
        measured_ms=measured_ms,
        first_ms=measured_ms * 1.03,
        second_ms=measured_ms,
    )


CHECK = Check(
    networks=(
        *(network(f"net {n}", "unseen", 10 + n, (10 + n) / 1.02) for n in range(20)),
        network("mobilenet_v3_large", "baseline", 14.0, 13.0),
        network("conv_mobilenet", "baseline", 400.0, 380.0),
    )
)


def table_of(name: str = "host_cpu", check: Check = CHECK) -> LatencyTable:
    layers = dict.fromkeys(
        [
            *SearchSpace.load("tiny").layers(),
            *(layer for one in BASELINES for layer in Arch.load(one).layers),
        ]
    )
    rows = {
        layer: Row(layer=layer, ms=1 + 0.1 * (layer.se > 0) + layer.in_channels / 1e4, n=5)
        for layer in layers
    }
    header = {"version": "1", "device": "host_cpu", "cpu": "some CPU", **check.header()}
    return LatencyTable(name=name, header=header, rows=rows)


TABLE = table_of()
PAGE = render_table_report(TABLE, CHECK)


def test_page_is_well_formed_and_the_same_again() -> None:
    Page(PAGE)
    assert render_table_report(TABLE, CHECK) == PAGE


def test_page_needs_no_network() -> None:
    assert not re.search(r"https?://|@import|url\(", PAGE)
    assert not any("src" in attrs or "href" in attrs for _, attrs in Page(PAGE).tags)


def test_every_network_is_drawn_or_named() -> None:
    page = Page(PAGE)
    assert len(page.marks("front")) == 20
    assert len(page.marks("baseline")) == 1
    [note] = page.text_of("figcaption")
    assert note == "Outside the axes: conv_mobilenet (400.0 ms predicted, 380.0 ms)."
    titles = page.text_of("title")
    assert "mobilenet_v3_large\n14.00 ms predicted\n13.00 ms measured\n+7.7 %" in titles


def test_diagonal_is_where_a_perfect_table_lies() -> None:
    perfect = Check(networks=tuple(network(f"{n}", "unseen", n, n) for n in range(5, 15)))
    page = Page(render_table_report(TABLE, perfect))
    path = re.search(
        r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', render_table_report(TABLE, perfect)
    )
    assert path is not None
    left, bottom, right, top = map(float, path.groups())
    for x, y in page.marks("front"):
        assert y == pytest.approx(bottom + (x - left) / (right - left) * (top - bottom), abs=0.2)


def test_what_is_predicted_too_slow_lies_below_the_diagonal() -> None:
    path = re.search(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', PAGE)
    assert path is not None
    left, bottom, right, top = map(float, path.groups())
    # The baseline of 14 ms predicted and 13 ms measured.
    [(x, y)] = Page(PAGE).marks("baseline")
    assert y > bottom + (x - left) / (right - left) * (top - bottom) + 5


def test_figures_stand_beside_the_machines_own() -> None:
    page = Page(PAGE)
    cells = page.text_of("td")
    start = cells.index("the table")
    assert cells[start : start + 8] == [
        *("the table", "20", "2.0 %", "+2.0 %", "100 %", "100 %", "2.0 %", "1.000")
    ]
    again = cells.index("the machine again")
    assert cells[again + 1 : again + 4] == ["20", "3.0 %", "+3.0 %"]
    assert CHECK.verdict() in page.text_of("p")


def test_answers_and_slowest_layers_are_those_of_the_table() -> None:
    page = Page(PAGE)
    cells = page.text_of("td")
    assert "SE instead of none" in page.text_of("th")
    assert "+0.100" in cells
    slowest = sorted(TABLE.rows.values(), key=lambda row: -row.ms)[:12]
    assert page.text_of("code") == [str(row.layer) for row in slowest]


def test_conditions_are_shown_without_the_figures_of_the_check() -> None:
    page = Page(PAGE)
    facts = dict(zip(page.text_of("dt"), page.text_of("dd"), strict=True))
    assert facts["cpu"] == "some CPU"
    assert facts["rows"] == str(len(TABLE.rows))
    assert facts["mobilenet_v3_large"].startswith(
        f"{TABLE.predict_ms(Arch.load(BASELINES[0])):.2f} "
    )
    assert not any(name.startswith(("check", "version")) for name in facts)


@pytest.mark.parametrize("check", [None, Check(networks=())])
def test_page_without_a_check_says_so(check: Check | None) -> None:
    page = Page(render_table_report(table_of(check=Check(networks=())), check))
    assert not any(tag == "svg" for tag, _ in page.tags)
    assert any(text.startswith("Not checked on whole networks") for text in page.text_of("p"))
    assert page.text_of("h2") == ["What a choice costs", "Slowest layers, ms", "Conditions"]


@pytest.mark.parametrize("family", ["unseen", "baseline"])
def test_page_of_a_single_network(family: str) -> None:
    one = Check(networks=(network("lonely", family, 10.0, 11.0),))
    page = Page(render_table_report(table_of(check=one), one))
    assert sum(len(page.marks(kind)) for kind in ("front", "baseline")) == 1


def test_shipped_tables_render() -> None:
    page = Page(render_table_report(LatencyTable.load("pixel_cpu")))
    assert "kernel 5 instead of 3" in page.text_of("th")


def test_hostile_names_stay_text() -> None:
    networks = (replace(CHECK.networks[0], name=HOSTILE), *CHECK.networks[1:])
    check = Check(networks=networks)
    table = replace(table_of(HOSTILE), header={"device": HOSTILE, HOSTILE: HOSTILE})
    page = render_table_report(table, check)
    assert HOSTILE not in page
    tags = [tag for tag, _ in Page(page).tags]
    assert tags.count("script") == 1 and "img" not in tags


def test_report_lies_beside_the_table() -> None:
    assert report_path(Path("latency_tables/host_cpu.csv")) == Path("latency_tables/host_cpu.html")
