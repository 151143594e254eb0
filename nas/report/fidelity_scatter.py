"""What networks reached against what a score said of them, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.report.axes import Axis, interesting_range
from nas.report.legend import SHAPES
from nas.report.markup import Html, element, join
from nas.report.plot_frame import FRAME, HEIGHT, WIDTH, draw_grid

_IN_BAND = "front"
"""The kind of mark that networks in the band have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network: its score, its top-1 in percent, its place in the band or not, its description."""

    score: float
    top1: float
    is_in_band: bool
    text: str


def draw_fidelity_scatter(points: Sequence[Point], across: str, band: str) -> Html:
    """Return the figure: every point is drawn; `across` names the score, `band` the band.

    There must be at least one point.
    """
    x, y = _axes(points)
    plot = element(
        "svg",
        draw_grid(x, y, across, "top-1 reached in %"),
        _draw_cloud([one for one in points if not one.is_in_band], x, y),
        join(_draw_mark(one, x, y) for one in points if one.is_in_band),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"Top-1 against {across}",
        class_="scatter",
    )
    return element("figure", _legend(band), element("div", plot, class_="scroll"))


def _axes(points: Sequence[Point]) -> tuple[Axis, Axis]:
    low, high = interesting_range([one.score for one in points], [])
    x = Axis(low=low, high=high, start=FRAME.left, end=FRAME.right)
    low, high = interesting_range([one.top1 for one in points], [])
    return x, Axis(low=low, high=high, start=FRAME.bottom, end=FRAME.top)


def _draw_cloud(points: Sequence[Point], x: Axis, y: Axis) -> Html:
    circles = [
        element(
            "circle",
            element("title", one.text),
            cx=f"{x.at(one.score):.1f}",
            cy=f"{y.at(one.top1):.1f}",
            r=3.5,
        )
        for one in points
    ]
    return element("g", *circles, class_="cloud")


def _draw_mark(point: Point, x: Axis, y: Axis) -> Html:
    left, top = f"{x.at(point.score):.1f}", f"{y.at(point.top1):.1f}"
    return element(
        "g",
        element("title", point.text),
        element("path", d=SHAPES[_IN_BAND]),
        class_=f"mark {_IN_BAND}",
        transform=f"translate({left} {top})",
        data_x=left,
        data_y=top,
        tabindex=0,
        role="img",
    )


def _legend(band: str) -> Html:
    kinds = {
        band: element("g", element("path", d=SHAPES[_IN_BAND]), class_=f"mark {_IN_BAND}"),
        "other networks": element("g", element("circle", r=4), class_="cloud"),
    }
    items = [
        element("li", element("svg", shape, viewBox="-12 -12 24 24", class_="key"), word)
        for word, shape in kinds.items()
    ]
    return element("ul", *items, class_="legend")
