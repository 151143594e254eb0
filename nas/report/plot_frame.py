"""What is drawn around the points of the plot."""

from nas.report.axes import Axis
from nas.report.figures import ms_text
from nas.report.labels import Box
from nas.report.markup import Html, element, join

WIDTH, HEIGHT = 960, 480
FRAME = Box(left=56, top=28, right=944, bottom=432)


def draw_grid(x: Axis, y: Axis, across: str = "latency in ms", up: str = "top-1 in %") -> Html:
    """Return the lines and numbers behind the points, and the titles of the axes."""
    middle = (FRAME.top + FRAME.bottom) / 2
    parts = [
        *(_tick_x(x.at(value), text) for value, text in x.ticks(9)),
        *(_tick_y(y.at(value), text) for value, text in y.ticks(6)),
        element("text", across, x=(FRAME.left + FRAME.right) / 2, y=HEIGHT - 8),
        element("text", up, transform=f"translate(14 {middle}) rotate(-90)"),
    ]
    return element("g", *parts, class_="grid", aria_hidden="true")


def _tick_x(left: float, text: str) -> Html:
    line = element("path", d=f"M{left:.1f} {FRAME.top}V{FRAME.bottom}")
    return join([line, element("text", text, x=f"{left:.1f}", y=FRAME.bottom + 18)])


def _tick_y(top: float, text: str) -> Html:
    line = element("path", d=f"M{FRAME.left} {top:.1f}H{FRAME.right}")
    return join([line, element("text", text, x=FRAME.left - 8, y=f"{top + 4:.1f}", class_="y")])


def draw_target(target_ms: float, x: Axis) -> Html:
    """Return the line of the latency that the search aims at."""
    left = f"{x.at(target_ms):.1f}"
    line = element("path", d=f"M{left} {FRAME.top - 8}V{FRAME.bottom}")
    text = element("text", f"target {ms_text(target_ms)} ms", x=left, y=FRAME.top - 14)
    return element("g", line, text, class_="target")
