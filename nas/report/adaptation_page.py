"""The way of an adaptation as one HTML page: its steps, what else was tried, and the networks."""

from collections.abc import Mapping, Sequence

from nas.adapt.trajectory import Step
from nas.report.document import document
from nas.report.figures import ms_text, signed
from nas.report.marked_scatter import Point, Words, draw_marked_scatter
from nas.report.markup import Html, element, scrolled_table
from nas.report.summary import draw_facts

_WORDS = Words(
    across="latency in ms", up="top-1 in %", marked="step taken", others="proposal not taken"
)
_COLUMNS = ("step", "what was cut", "ms", "top-1 %", "% lost a ms", "proposals")


def render_adaptation(steps: Sequence[Step], facts: Mapping[str, str]) -> str:
    """Return the page as text; the same input gives the same bytes."""
    first, last = steps[0], steps[-1]
    title = f"{first.arch.name} from {ms_text(first.ms)} to {ms_text(last.ms)} ms"
    lost = signed(last.top1 - first.top1, 2)
    header = element(
        "header",
        element("h1", title),
        element("p", f"{len(steps) - 1} cuts, {lost} points of top-1.", class_="headline"),
        draw_facts(facts),
    )
    return document(title, header, _plot(steps), _table(steps), _layers(first, last))


def _plot(steps: Sequence[Step]) -> Html:
    points = [
        Point(figure=one.ms, top1=one.top1, is_marked=False, text=_text(one.what, one.ms, one.top1))
        for step in steps
        for one in step.tried
        if one.what != step.what
    ]
    points += [
        Point(
            figure=step.ms,
            top1=step.top1,
            is_marked=True,
            text=_text(step.what or "as it was given", step.ms, step.top1),
        )
        for step in steps
    ]
    return element("section", element("h2", "The way"), draw_marked_scatter(points, _WORDS))


def _text(what: str, ms: float, top1: float) -> str:
    return f"{what}\n{top1:.2f} %\n{ms_text(ms)} ms"


def _table(steps: Sequence[Step]) -> Html:
    head = [element("th", one, scope="col") for one in _COLUMNS]
    rows = [_row(0, steps[0], None)]
    rows += [
        _row(number, step, steps[number - 1]) for number, step in enumerate(steps[1:], start=1)
    ]
    return element("section", element("h2", "Step by step"), scrolled_table(head, rows))


def _row(number: int, step: Step, before: Step | None) -> Html:
    texts = [
        step.what or "as it was given",
        f"{step.ms:.3f}",
        f"{step.top1:.2f}",
        f"{(before.top1 - step.top1) / (before.ms - step.ms):.3f}" if before else "",
        str(len(step.tried)) if before else "",
    ]
    cells = (element("td", text) for text in texts)
    return element("tr", element("th", str(number), scope="row"), *cells)


def _layers(first: Step, last: Step) -> Html:
    head = [element("th", one, scope="col") for one in ("layer", "before", "after")]
    rows = [
        element(
            "tr",
            element("th", str(number), scope="row"),
            element("td", str(before)),
            element("td", str(after) if after != before else "unchanged"),
        )
        for number, (before, after) in enumerate(
            zip(first.arch.layers, last.arch.layers, strict=True)
        )
    ]
    return element("section", element("h2", "Layer by layer"), scrolled_table(head, rows))
