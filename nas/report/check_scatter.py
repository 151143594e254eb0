"""Predicted against measured latency of whole networks, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.latency.check import CheckedNetwork
from nas.report.axes import Axis, interesting_range
from nas.report.figures import ms_text, signed
from nas.report.labels import around, place_labels
from nas.report.legend import SHAPES
from nas.report.markup import Html, element, join
from nas.report.plot_frame import FRAME, HEIGHT, WIDTH, draw_grid

BAND = 0.05
KINDS = {"unseen": "front", "baseline": "baseline"}
_WORDS = {"unseen": "networks that the table had not seen", "baseline": "hand-designed networks"}
_RADIUS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    network: CheckedNetwork
    x: float
    y: float


def draw_check_scatter(networks: Sequence[CheckedNetwork]) -> Html:
    """Return the figure: plot, legend and the networks that lie outside of the axes."""
    x, y = _axes(networks)
    shown = [one for one in networks if x.holds(one.predicted_ms) and y.holds(one.measured_ms)]
    marks = [_Mark(network=one, x=x.at(one.predicted_ms), y=y.at(one.measured_ms)) for one in shown]
    # Hand-designed networks are fewer, and named: they lie on top.
    marks.sort(key=lambda mark: mark.network.family == "baseline")
    plot = element(
        "svg",
        draw_grid(x, y, "predicted by the table, ms", "measured whole, ms"),
        _draw_band(x, y),
        join(map(_draw_mark, marks)),
        _names(marks),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label="Measured against predicted latency",
        class_="scatter",
    )
    outside = [one for one in networks if one not in shown]
    return element("figure", _legend(), element("div", plot, class_="scroll"), _note(outside))


def describe_network(network: CheckedNetwork) -> str:
    """Return the figures of a network, one a line, its name first."""
    return (
        f"{network.name}\n{ms_text(network.predicted_ms)} ms predicted\n"
        f"{ms_text(network.measured_ms)} ms measured\n{signed(error_percent(network), 1)} %"
    )


def error_percent(network: CheckedNetwork) -> float:
    """Return how far the prediction lies above what was measured."""
    return 100 * (network.predicted_ms / network.measured_ms - 1)


def _axes(networks: Sequence[CheckedNetwork]) -> tuple[Axis, Axis]:
    unseen = [ms for one in networks if one.family == "unseen" for ms in _times(one)]
    every = [ms for one in networks for ms in _times(one)]
    low, high = interesting_range(unseen or every, every)
    low = max(low, 0.0)
    x = Axis(low=low, high=high, start=FRAME.left, end=FRAME.right)
    return x, Axis(low=low, high=high, start=FRAME.bottom, end=FRAME.top)


def _times(network: CheckedNetwork) -> tuple[float, float]:
    return network.predicted_ms, network.measured_ms


def _draw_band(x: Axis, y: Axis) -> Html:
    """Return the diagonal, and where predictions are within the band about it."""
    low, high = x.low, x.high
    corners = (
        *((low, low), (low, min(high, low / (1 - BAND))), (high * (1 - BAND), high)),
        *((high, high), (high, high / (1 + BAND)), (min(high, low * (1 + BAND)), low)),
    )
    points = " ".join(f"{x.at(across):.1f},{y.at(up):.1f}" for across, up in corners)
    line = f"M{x.at(low):.1f} {y.at(low):.1f}L{x.at(high):.1f} {y.at(high):.1f}"
    band = element("polygon", points=points, fill="currentColor", fill_opacity=0.07)
    diagonal = element("path", d=line, fill="none")
    return element("g", band, diagonal, class_="target", aria_hidden="true")


def _draw_mark(mark: _Mark) -> Html:
    kind = KINDS[mark.network.family]
    return element(
        "g",
        element("title", describe_network(mark.network)),
        element("path", d=SHAPES[kind]),
        class_=f"mark {kind}",
        transform=f"translate({mark.x:.1f} {mark.y:.1f})",
        data_x=f"{mark.x:.1f}",
        data_y=f"{mark.y:.1f}",
        tabindex=0,
        role="img",
    )


def _names(marks: Sequence[_Mark]) -> Html:
    named = [mark for mark in marks if mark.network.family == "baseline"]
    obstacles = [around(mark.x, mark.y, _RADIUS) for mark in marks]
    labels = place_labels([(mark.x, mark.y, mark.network.name) for mark in named], obstacles, FRAME)
    texts = [
        element(
            "text",
            label.text,
            x=f"{label.x:.1f}",
            y=f"{label.middle + 4:.1f}",
            text_anchor=label.anchor,
            class_="name baseline",
        )
        for label in labels
        if label
    ]
    return element("g", *texts, aria_hidden="true")


def _legend() -> Html:
    items = [
        element("li", _key(element("path", d=SHAPES[kind]), f"mark {kind}"), _WORDS[family])
        for family, kind in KINDS.items()
    ]
    band = element("path", d="M-12 0H12")
    within = f"predicted as measured, and within {BAND:.0%} of it"
    return element("ul", *items, element("li", _key(band, "target"), within), class_="legend")


def _key(shape: Html, kind: str) -> Html:
    return element("svg", element("g", shape, class_=kind), viewBox="-12 -12 24 24", class_="key")


def _note(outside: Sequence[CheckedNetwork]) -> Html:
    if not outside:
        return element("figcaption", "Every network is drawn.")
    words = [
        f"{one.name} ({ms_text(one.predicted_ms)} ms predicted, {ms_text(one.measured_ms)} ms)"
        for one in outside
    ]
    return element("figcaption", f"Outside the axes: {', '.join(words)}.")
