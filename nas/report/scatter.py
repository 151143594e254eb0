"""Accuracy against latency, as inline SVG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nas.candidate import Candidate
from nas.report.axes import Axis, interesting_range
from nas.report.figures import describe, ms_text
from nas.report.labels import Box, around, place_labels
from nas.report.legend import SHAPES, draw_legend, outside_note
from nas.report.markup import Html, element, join
from nas.report.plot_frame import FRAME, HEIGHT, WIDTH, draw_grid, draw_target
from nas.report.study import Point, StudyReport
from nas.report.thinning import thin, visible

MAX_POINTS = 3000
"""Keeps a page of a few studies below 2 MB."""
_OBSTACLES = {"front": 4.5, "baseline": 6.0, "reference": 7.0, "winner": 10.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    kind: str
    candidate: Candidate
    x: float
    y: float


def draw_scatter(study: StudyReport, baselines: Sequence[Candidate]) -> Html:
    """Return the figure of one study: plot, legend and what lies outside of the axes."""
    others = _without(baselines, study.reference)
    x, y = _axes(study, others)
    shown = [one for one in others if x.holds(one.ms) and y.holds(one.top1)]
    within = visible(study.points, x, y)
    drawn = thin(within, x, y, MAX_POINTS)
    marks = _marks(study, shown, x, y)
    plot = element(
        "svg",
        draw_grid(x, y),
        draw_target(study.target_ms, x),
        _cloud(drawn, x, y),
        _front_line(study.front, x, y),
        join(map(_draw_mark, marks)),
        _names(marks),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"Top-1 against latency of the study {study.name}",
        class_="scatter",
    )
    outside = [one for one in others if one not in shown]
    note = outside_note(len(study.points), len(within), len(drawn), outside)
    return element("figure", draw_legend(), element("div", plot, class_="scroll"), note)


def _without(baselines: Sequence[Candidate], reference: Candidate | None) -> list[Candidate]:
    key = reference.arch.key() if reference else None
    return [one for one in baselines if one.arch.key() != key]


def _axes(study: StudyReport, baselines: Sequence[Candidate]) -> tuple[Axis, Axis]:
    places = np.array(study.points, dtype=float).reshape(-1, 3)[:, 1:]
    places = places[np.isfinite(places).all(axis=1)]
    edges = np.percentile(places, [2, 98], axis=0).tolist() if len(places) else []
    low, high = interesting_range(
        [*(one.ms for one in study.notable), study.target_ms],
        [*(one.ms for one in baselines), *(edge[0] for edge in edges)],
    )
    x = Axis(low=max(low, 0.0), high=high, start=FRAME.left, end=FRAME.right)
    low, high = interesting_range(
        [one.top1 for one in study.notable],
        [*(one.top1 for one in baselines if x.holds(one.ms)), *(edge[1] for edge in edges)],
    )
    return x, Axis(low=low, high=high, start=FRAME.bottom, end=FRAME.top)


def _marks(study: StudyReport, baselines: Iterable[Candidate], x: Axis, y: Axis) -> list[_Mark]:
    kinds = [("front", one) for one in sorted(study.front, key=lambda one: one.ms)]
    kinds += [("baseline", one) for one in baselines]
    kinds += [("reference", study.reference)] if study.reference else []
    kinds += [("winner", study.winner)]
    return [_Mark(kind=k, candidate=one, x=x.at(one.ms), y=y.at(one.top1)) for k, one in kinds]


def _draw_mark(mark: _Mark) -> Html:
    return element(
        "g",
        element("title", describe(mark.candidate)),
        element("path", d=SHAPES[mark.kind]),
        class_=f"mark {mark.kind}",
        transform=f"translate({mark.x:.1f} {mark.y:.1f})",
        data_x=f"{mark.x:.1f}",
        data_y=f"{mark.y:.1f}",
        tabindex=0,
        role="img",
    )


def _names(marks: Sequence[_Mark]) -> Html:
    front = [mark for mark in marks if mark.kind == "front"]
    named = [mark for mark in reversed(marks) if mark.kind != "front"]
    obstacles = [around(mark.x, mark.y, _OBSTACLES[mark.kind]) for mark in marks]
    obstacles += [box for above, below in pairwise(front) for box in _step(above, below)]
    labels = place_labels([(m.x, m.y, m.candidate.name) for m in named], obstacles, FRAME)
    texts = [
        element(
            "text",
            label.text,
            x=f"{label.x:.1f}",
            y=f"{label.middle + 4:.1f}",
            text_anchor=label.anchor,
            class_=f"name {mark.kind}",
        )
        for mark, label in zip(named, labels, strict=True)
        if label
    ]
    return element("g", *texts, aria_hidden="true")


def _step(above: _Mark, below: _Mark) -> tuple[Box, Box]:
    """Return what the front's line covers between two networks of it."""
    low, high = sorted((above.y, below.y))
    across = Box(left=above.x, top=above.y - 1, right=below.x, bottom=above.y + 1)
    return across, Box(left=below.x - 1, top=low, right=below.x + 1, bottom=high)


def _cloud(points: Sequence[Point], x: Axis, y: Axis) -> Html:
    circles = [
        element(
            "circle",
            element("title", f"trial {number}\n{ms_text(ms)} ms\n{top1:.2f} % top-1"),
            cx=f"{x.at(ms):.1f}",
            cy=f"{y.at(top1):.1f}",
            r=2,
        )
        for number, ms, top1 in points
    ]
    return element("g", *circles, class_="cloud")


def _front_line(front: Sequence[Candidate], x: Axis, y: Axis) -> Html:
    corners = [(x.at(one.ms), y.at(one.top1)) for one in sorted(front, key=lambda one: one.ms)]
    # Steps, not slopes: between two networks of the front nothing better was found.
    steps = "".join(f"H{left:.1f}V{top:.1f}" for left, top in corners[1:])
    start = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}" if corners else ""
    return element("path", d=f"{start}{steps}", class_="front-line")
