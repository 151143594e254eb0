"""Networks by accuracy against a figure, some of them marked, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.report.axes import Axis, interesting_range
from nas.report.legend import SHAPES
from nas.report.markup import Html, element, join
from nas.report.plot_frame import FRAME, HEIGHT, WIDTH, draw_grid

_MARK = "front"
"""The kind of mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network: a figure, its top-1 in percent, whether it is marked, and its description."""

    figure: float
    top1: float
    is_marked: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the axes show, and what is marked and what is not."""

    across: str
    up: str
    marked: str
    others: str


def draw_marked_scatter(points: Sequence[Point], words: Words) -> Html:
    """Return the figure; every point is drawn, and there must be at least one."""
    x, y = _axes(points)
    plot = element(
        "svg",
        draw_grid(x, y, words.across, words.up),
        _draw_cloud([one for one in points if not one.is_marked], x, y),
        join(_draw_mark(one, x, y) for one in points if one.is_marked),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"Top-1 against {words.across}",
        class_="scatter",
    )
    return element("figure", _legend(words), element("div", plot, class_="scroll"))


def _axes(points: Sequence[Point]) -> tuple[Axis, Axis]:
    low, high = interesting_range([one.figure for one in points], [])
    x = Axis(low=low, high=high, start=FRAME.left, end=FRAME.right)
    low, high = interesting_range([one.top1 for one in points], [])
    return x, Axis(low=low, high=high, start=FRAME.bottom, end=FRAME.top)


def _draw_cloud(points: Sequence[Point], x: Axis, y: Axis) -> Html:
    circles = [
        element(
            "circle",
            element("title", one.text),
            cx=f"{x.at(one.figure):.1f}",
            cy=f"{y.at(one.top1):.1f}",
            r=3.5,
        )
        for one in points
    ]
    return element("g", *circles, class_="cloud")


def _draw_mark(point: Point, x: Axis, y: Axis) -> Html:
    left, top = f"{x.at(point.figure):.1f}", f"{y.at(point.top1):.1f}"
    return element(
        "g",
        element("title", point.text),
        element("path", d=SHAPES[_MARK]),
        class_=f"mark {_MARK}",
        transform=f"translate({left} {top})",
        data_x=left,
        data_y=top,
        tabindex=0,
        role="img",
    )


def _legend(words: Words) -> Html:
    kinds = {
        words.marked: element("g", element("path", d=SHAPES[_MARK]), class_=f"mark {_MARK}"),
        words.others: element("g", element("circle", r=4), class_="cloud"),
    }
    items = [
        element("li", element("svg", shape, viewBox="-12 -12 24 24", class_="key"), word)
        for word, shape in kinds.items()
    ]
    return element("ul", *items, class_="legend")
