"""The page of a judgement: well formed, self-contained, and true to its figures."""

import re
from itertools import islice
from math import nan

import numpy as np
import pytest
from html_page import HOSTILE, Page

from nas.cost import count_macs
from nas.fidelity.figures import Scores
from nas.fidelity.judgement import Judgement, Truths
from nas.fidelity.rank_agreement import Estimate
from nas.fidelity.scoring import bars
from nas.fidelity.selection import Selection, madds_table, random_networks
from nas.fidelity.wording import estimate_text, headline, regions, seconds_text
from nas.report.fidelity_page import render_fidelity
from nas.space import SearchSpace

SPACE = SearchSpace.load("tiny")
N = 30
ARCHS = tuple(islice(random_networks(SPACE, 0), N))


def judged(name: str = "mine", n_trainings: int = 2, n_labels: int = 0) -> Judgement:
    rng = np.random.default_rng(0)
    top1 = rng.normal(60, 3, size=N) + rng.normal(0, 1, size=(n_trainings, N))
    values = top1[:1] + rng.normal(0, 2, size=(1, N))
    values[0, 5] = nan
    ms = madds_table(SPACE.layers()).predict_many_ms(ARCHS)
    selection = Selection(
        archs=ARCHS, is_sample=np.ones(N, dtype=bool), ms=ms, band=0.2, table="pixel_cpu"
    )
    scores = Scores(
        name=name,
        values=values,
        seconds=0.25,
        prepared_s=3,
        n_labels=n_labels,
        reasons={ARCHS[5].key(): "too large"},
    )
    return Judgement.of(
        selection,
        Truths(origin=name, top1=top1, seconds=12.3),
        (scores, *bars(ARCHS)),
        facts={"proxy": name},
        notes=[name],
        n_bootstrap=50,
    )


JUDGED = judged()


def test_page_is_whole_and_loads_nothing() -> None:
    text = render_fidelity(JUDGED)
    page = Page(text)
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "img")
        assert not {"src", "href", "onerror"} & attrs.keys()
    assert render_fidelity(JUDGED) == text


def test_every_network_with_figures_is_drawn_once_for_each_score() -> None:
    page = Page(render_fidelity(JUDGED))
    n_near = int(JUDGED.selection.in_band.sum())
    marks = [attrs for tag, attrs in page.tags if "data-x" in attrs]
    circles = [attrs for tag, attrs in page.tags if tag == "circle" and "cx" in attrs]
    is_near = JUDGED.selection.in_band[5]
    assert len(marks) == 3 * n_near - is_near
    assert len(circles) == 3 * (N - n_near) - (1 - is_near)
    for attrs in marks:
        assert 56 <= float(str(attrs["data-x"])) <= 944
        assert 28 <= float(str(attrs["data-y"])) <= 432


def test_figures_of_the_page_are_those_of_the_judgement() -> None:
    page = Page(render_fidelity(JUDGED))
    cells = [text for parent, text in page.texts if parent in ("td", "b", "p")]
    for region in (JUDGED.over_all, JUDGED.in_band):
        for one in region.scores:
            for estimate in one.estimates.values():
                assert estimate_text(estimate) in cells
    rows = {text for parent, text in page.texts if parent == "th"}
    assert {arch.key() for arch in ARCHS} <= rows
    assert f"{count_macs(ARCHS[0]) / 1e6:.2f}" in cells
    assert [text for parent, text in page.texts if parent == "li" and text == "mine"] == ["mine"]
    said = " ".join(cells)
    assert "Two trainings of the same networks agree with Kendall" in said
    assert "mine 250 ms" in said and "training it 12.3 s; preparing took 3 s" in said
    assert [title for parent, title in page.texts if parent == "h3"][:2] == [
        title for title, _ in regions(JUDGED)
    ]


def test_names_cannot_break_the_page() -> None:
    text = render_fidelity(judged(HOSTILE))
    page = Page(text)
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    assert "<img" not in text
    assert HOSTILE in [text for _, text in page.texts]


def test_a_page_without_any_figure_is_a_page() -> None:
    judgement = judged(n_trainings=1)
    nothing = np.full((1, N), nan)
    empty = Judgement.of(
        judgement.selection,
        judgement.truths,
        (Scores(name="mine", values=nothing, seconds=nan), *bars(ARCHS)),
        facts={},
        n_bootstrap=10,
    )
    page = Page(render_fidelity(empty))
    assert "It has no figure for any network." in [text for _, text in page.texts]


def test_what_was_taught_is_said() -> None:
    assert headline(judged(n_labels=8)) == (
        "mine on 30 networks of mine, taught 8 of them in each of 1 splits"
    )


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(value=0.51234, low=0.4, high=0.6), "0.512 [0.40, 0.60]"),
        (Estimate(value=-0.5), "-0.500"),
        (Estimate(value=nan), "\N{EN DASH}"),
    ],
)
def test_estimates_as_text(estimate: Estimate, text: str) -> None:
    assert estimate_text(estimate) == text


def test_differences_have_a_sign() -> None:
    text = estimate_text(Estimate(value=0.1, low=-0.02, high=0.2), is_difference=True)
    assert re.fullmatch(r"\+0\.100 \[\N{MINUS SIGN}0\.02, \+0\.20\]", text)


def test_seconds_as_text() -> None:
    assert [seconds_text(one) for one in (2e-5, 0.25, 12.345, nan)] == [
        *("0.02 ms", "250 ms", "12.3 s", "\N{EN DASH}")
    ]
