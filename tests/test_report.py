"""The report page: well formed, self-contained, and true to the candidates' figures."""

import re
from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from html_page import HOSTILE, Page

from nas.arch import Arch
from nas.candidate import Candidate
from nas.report.axes import Axis, interesting_range
from nas.report.labels import Box, place_labels
from nas.report.markup import Html, element
from nas.report.page import StudyReport, render_report
from nas.report.stages import align, stages_of
from nas.report.thinning import thin
from nas.space import SearchSpace

BASELINES = ("mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "conv_mobilenet")


def candidate(arch: Arch, group: str, rng: np.random.Generator, slowness: float = 1) -> Candidate:
    return Candidate(
        name=arch.name,
        group=group,
        study="" if group == "baseline" else "large",
        arch=arch,
        top1=float(rng.uniform(70, 77)),
        top1_std=float(rng.uniform(0.1, 0.9)),
        layer_ms=tuple((rng.uniform(0.1, 5, len(arch.layers)) * slowness).tolist()),
        published_top1=75.2 if group == "baseline" else None,
    )


def study(n_points: int = 200) -> StudyReport:
    rng = np.random.default_rng(1)
    space = SearchSpace.load("mobilenet_v3_large")
    front = [
        candidate(replace(space.random(n), name=f"front {n}"), "pareto", rng) for n in range(5)
    ]
    ms, top1 = rng.uniform(20, 90, n_points), rng.uniform(60, 77, n_points)
    return StudyReport(
        name="large",
        space=space.name,
        space_size=10**15,
        sampler="random",
        objective="reward",
        n_trials=n_points,
        n_networks=n_points,
        seconds=12.3,
        target_ms=45.0,
        bounds_ms=(20.0, 90.0),
        points=list(zip(range(n_points), ms.tolist(), top1.tolist(), strict=True)),
        winner=replace(front[2], name="the winner", group="winner"),
        front=front,
        reference=baselines()[0],
    )


def baselines() -> list[Candidate]:
    rng = np.random.default_rng(2)
    return [
        candidate(Arch.load(name), "baseline", rng, 20 if name == "conv_mobilenet" else 1)
        for name in BASELINES
    ]


def render(*studies: StudyReport, others: Sequence[Candidate] | None = None) -> str:
    others = baselines() if others is None else others
    return render_report("A search", {"hardware": "pixel_cpu"}, studies, others)


def test_page_is_well_formed() -> None:
    tags = [tag for tag, _ in Page(render(study())).tags]
    assert tags[:2] == ["html", "head"]
    assert {"svg", "table", "style", "script"} <= set(tags)


def test_page_is_deterministic() -> None:
    assert render(study()) == render(study())


def test_page_needs_no_network() -> None:
    page = render(study())
    assert not re.search(r"https?://|@import|url\(", page)
    attributes = [attrs for _, attrs in Page(page).tags]
    assert not any("src" in attrs for attrs in attributes)
    links = [str(attrs["href"]) for attrs in attributes if "href" in attrs]
    anchors = {f"#{attrs['id']}" for attrs in attributes if "id" in attrs}
    assert links and set(links) <= anchors


@pytest.mark.parametrize("n_points", [0, 1, 20_000])
def test_every_front_network_is_drawn(n_points: int) -> None:
    report = study(n_points)
    page = Page(render(report))
    shapes = [attrs for attrs in page.with_class("front") if attrs.get("data-x")]
    assert len(shapes) == len(report.front)
    assert all(56 <= float(str(attrs["data-x"])) <= 944 for attrs in shapes)
    assert all(28 <= float(str(attrs["data-y"])) <= 432 for attrs in shapes)


def test_hover_shows_the_figures_of_the_candidates() -> None:
    report = study()
    titles = Page(render(report)).text_of("title")
    reference = report.reference
    assert reference is not None
    for one in [*report.front, report.winner, reference]:
        [title] = [title for title in titles if title.split("\n")[0] == one.name]
        assert f"\n{one.ms:.2f} ms\n" in title
        assert f"\n{one.top1:.2f} ± {one.top1_std:.2f} % top-1" in title
        assert f"\n{one.macs / 1e6:.0f} M MAdds\n" in title
        assert f"\n{one.params / 1e6:.2f} M parameters" in title
        assert ("75.2 % top-1 published" in title) == (one is reference)


def test_hover_shows_the_trials() -> None:
    report = study(50)
    titles = Page(render(report)).text_of("title")
    shown = {title for title in titles if title.startswith("trial ")}
    told = {f"trial {n}\n{ms:.2f} ms\n{top1:.2f} % top-1" for n, ms, top1 in report.points}
    assert shown and shown <= told


def test_every_layer_is_drawn_and_timed() -> None:
    report = study()
    page = Page(render(report))
    sides = [report.winner, report.reference or report.winner]
    layers = sorted(str(layer) for one in sides for layer in one.arch.layers)
    titles = [str(attrs["title"]) for tag, attrs in page.tags if tag == "li" and "title" in attrs]
    assert sorted(title.split("\n")[0] for title in titles) == sorted(layers * 2)
    assert sorted(page.text_of("code")) == layers
    assert len(page.with_class("box")) == len(layers)


def test_table_lists_every_network_once() -> None:
    report = study()
    page = Page(render(report))
    rows = [text for tag, text in page.texts if tag == "th"]
    # The winner is one of the front.
    expected = {"the winner", *BASELINES, *(one.name for one in report.front)} - {"front 2"}
    assert sorted(rows) == sorted(expected)


def test_far_baseline_does_not_squash_the_plot() -> None:
    page = Page(render(study()))
    [outside] = [text for text in page.text_of("details") if "conv_mobilenet" in text]
    assert "mobilenet_v3_large" not in outside


def test_hostile_names_stay_text() -> None:
    report = study()
    winner = replace(report.winner, name=HOSTILE)
    hostile = replace(report, name=HOSTILE, sampler=HOSTILE, winner=winner)
    other = replace(baselines()[1], name=HOSTILE)
    page = render_report(HOSTILE, {HOSTILE: HOSTILE}, [hostile], [other])
    parsed = Page(page)
    assert HOSTILE not in page
    assert HOSTILE in parsed.text_of("h1")
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("script") == 1 and "img" not in tags


def test_page_of_many_points_is_small() -> None:
    many = study(20_000)
    page = render(many, replace(many, name="small"))
    assert len(page.encode()) < 2_000_000
    assert page.count("<circle") > 2000


def test_page_without_reference_front_or_baselines() -> None:
    report = study()
    lonely = replace(report, reference=None, front=[], points=[(0, nan, nan), (1, 40.0, 72.0)])
    page = Page(render(lonely, others=[]))
    marks = [attrs["class"] for attrs in page.with_class("mark") if "data-x" in attrs]
    assert marks == ["mark winner"]
    assert "the winner" in page.text_of("h4")


def test_element_escapes_text_but_not_markup() -> None:
    assert element("p", "<b>", Html("<b></b>"), class_='"') == (
        '<p class="&quot;">&lt;b&gt;<b></b></p>'
    )


@pytest.mark.parametrize("name", BASELINES)
def test_stages_hold_every_layer_in_order(name: str) -> None:
    one = candidate(Arch.load(name), "baseline", np.random.default_rng(0))
    stages = stages_of(one)
    assert [layer for stage in stages for layer in stage.layers] == list(one.arch.layers)
    assert sum(stage.ms for stage in stages) == pytest.approx(one.ms)
    assert all(layer.stride == 1 for stage in stages for layer in stage.layers[1:])


def test_alignment_keeps_both_networks_and_pairs_equal_sizes() -> None:
    left, right = (stages_of(one) for one in baselines()[1:3])
    rows = align(left, right)
    assert [row[0] for row in rows if row[0]] == left
    assert [row[1] for row in rows if row[1]] == right
    assert all(a is b or a.phase == b.phase for a, b in align(left, left) if a and b)


def test_axis_shows_the_core_whatever_else_there_is() -> None:
    low, high = interesting_range([10.0, 20.0], [9.0, 1000.0, -500.0])
    assert 8 < low < 9 and 20 < high < 21
    axis = Axis(low=low, high=high, start=0.0, end=100.0)
    assert [text for _, text in axis.ticks(6)] == ["10", "12", "14", "16", "18", "20"]
    low, high = interesting_range([5.0], [])
    assert low < 5 < high


def test_thinning_keeps_points_that_look_different() -> None:
    x = Axis(low=0.0, high=1.0, start=0.0, end=100.0)
    corners = [(0, 0.0, 0.0), (1, 1.0, 1.0), (2, 0.001, 0.001)]
    assert thin(corners, x, x, 3) == corners
    assert thin(corners, x, x, 2) == corners[:2]
    assert thin([], x, x, 2) == []


def test_labels_do_not_overlap() -> None:
    frame = Box(left=0, top=0, right=400, bottom=200)
    rng = np.random.default_rng(3)
    points = [(float(x), float(y), "network") for x, y in rng.uniform(0, 1, (40, 2)) * (400, 200)]
    boxes = [label.box for label in place_labels(points, [], frame) if label]
    assert 10 < len(boxes) <= 40
    assert all(frame.holds(box) for box in boxes)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
