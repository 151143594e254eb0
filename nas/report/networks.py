"""The winner and its reference, drawn layer by layer, and their latency by layer."""

from math import sqrt

from nas.arch import Layer
from nas.candidate import Candidate
from nas.report.figures import TIMES, describe_layer, ms_text
from nas.report.markup import Html, element
from nas.report.stages import Stage, side_by_side

NARROWEST_PX, WIDEST_PX = 50, 112
_OPS = {"conv": "conv ", "separable": "sep ", "mbconv": "", "head": "head"}


def draw_networks(winner: Candidate, reference: Candidate | None) -> Html:
    """Return both networks, a row a stage and a box a layer.

    A box is as wide as the square root of the layer's widest channels, and coloured by its kernel.
    """
    sides = [winner] if reference is None else [winner, reference]
    widest = max(_channels(layer) for one in sides for layer in one.arch.layers)

    def cell(candidate: Candidate, stage: Stage) -> Html:
        boxes = [
            _box(layer, describe_layer(layer, ms, candidate.layer_ms), widest)
            for layer, ms in zip(stage.layers, stage.layer_ms, strict=True)
        ]
        return element("div", _caption(stage, candidate.ms), element("ol", *boxes, class_="boxes"))

    return side_by_side(winner, reference, cell)


def draw_latency(winner: Candidate, reference: Candidate | None) -> Html:
    """Return a bar a layer, of one scale for both networks."""
    sides = [winner] if reference is None else [winner, reference]
    # A table of zeros is no reason to fail.
    slowest = max(ms for one in sides for ms in one.layer_ms) or 1.0

    def cell(candidate: Candidate, stage: Stage) -> Html:
        bars = [
            _bar(layer, ms, slowest, describe_layer(layer, ms, candidate.layer_ms))
            for layer, ms in zip(stage.layers, stage.layer_ms, strict=True)
        ]
        return element("ol", *bars, class_="bars")

    return side_by_side(winner, reference, cell)


def _channels(layer: Layer) -> int:
    return layer.mid_channels or layer.out_channels


def _caption(stage: Stage, total_ms: float) -> Html:
    last = stage.layers[-1]
    place = "classes" if last.op == "head" else f"channels, {last.out_size} px"
    figures = element("span", f"{ms_text(stage.ms, total_ms)} ms")
    return element("p", element("b", str(last.out_channels)), f" {place}", figures)


def _box(layer: Layer, description: str, widest: int) -> Html:
    share = sqrt(_channels(layer) / widest)
    kernel = "" if layer.op == "head" else f"{layer.kernel}{TIMES}{layer.kernel}"
    marks = [element("i", "SE", class_="se")] if layer.se else []
    marks += [element("i", "hs", class_="hs")] if layer.act == "hswish" else []
    return element(
        "li",
        element("b", _OPS[layer.op] + kernel),
        element("span", str(_channels(layer))),
        element("span", *marks, class_="marks"),
        class_=f"box {layer.op} k{min(layer.kernel, 7)}",
        style=f"--width:{NARROWEST_PX + share * (WIDEST_PX - NARROWEST_PX):.0f}px",
        title=description,
        tabindex=0,
    )


def _bar(layer: Layer, ms: float, slowest: float, description: str) -> Html:
    return element(
        "li",
        element("code", str(layer)),
        element("span", element("span", style=f"--share:{ms / slowest:.2%}"), class_="track"),
        element("span", ms_text(ms, slowest), class_="value"),
        title=description,
    )
