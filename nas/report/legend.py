"""The shapes of the plot, what they mean and what is not drawn."""

from collections.abc import Sequence

from nas.candidate import Candidate
from nas.report.figures import ms_text
from nas.report.markup import Html, element

SHAPES = {
    "front": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "baseline": "M0 -5.5L5.5 0L0 5.5L-5.5 0z",
    "reference": "M0 -7L7 0L0 7L-7 0z",
    "winner": "M0 -11L3 -3.6L10.5 -3.4L4.6 1.4L6.5 8.9L0 4.6L-6.5 8.9L-4.6 1.4L-10.5 -3.4L-3 -3.6z",
}


def draw_legend() -> Html:
    """Return the meaning of the shapes."""
    words = {
        "winner": "winner",
        "reference": "reference",
        "baseline": "other baselines",
        "front": "Pareto front",
    }
    items = [
        element("li", element("svg", _sample(kind), viewBox="-12 -12 24 24", class_="key"), word)
        for kind, word in words.items()
    ]
    dot = element("g", element("circle", r=4), class_="cloud")
    cloud = element("svg", dot, viewBox="-12 -12 24 24", class_="key")
    return element("ul", *items, element("li", cloud, "evaluated"), class_="legend")


def _sample(kind: str) -> Html:
    return element("g", element("path", d=SHAPES[kind]), class_=f"mark {kind}")


def outside_note(n_points: int, n_within: int, n_drawn: int, outside: Sequence[Candidate]) -> Html:
    """Return the caption that says what the plot leaves out."""
    words = [f"{n_drawn:,} of {n_points:,} evaluated points drawn"]
    words += [f"{n_points - n_within:,} lie outside the axes"] if n_points > n_within else []
    text = "; ".join(words) + "."
    if not outside:
        return element("figcaption", text)
    names = ", ".join(f"{one.name} ({ms_text(one.ms)} ms, {one.top1:.1f} %)" for one in outside)
    count = f"{len(outside)} baseline{'s' if len(outside) > 1 else ''} outside the axes"
    return element("figcaption", text, element("details", element("summary", count), f"{names}."))
