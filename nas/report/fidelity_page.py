"""The report of a proxy's fidelity as one HTML page: its figures, plots and networks."""

from collections.abc import Sequence
from math import isfinite

from nas.fidelity.figures import Figures, Region
from nas.fidelity.judgement import Judgement
from nas.fidelity.rank_agreement import Estimate
from nas.fidelity.wording import (
    INTERVALS,
    STATISTICS,
    cost_text,
    estimate_text,
    headline,
    regions,
    repeatability_text,
    seconds_text,
)
from nas.report.document import document
from nas.report.figures import MEGA, NONE, mega_text, ms_text
from nas.report.marked_scatter import Point, Words, draw_marked_scatter
from nas.report.markup import Html, element, scrolled_table
from nas.report.summary import draw_facts

_COLUMNS = ("network", "in the band", "top-1 %", "score", "cost", "MAdds M", "params M")
_UNITS = {"MAdds": (MEGA, "M MAdds"), "params": (MEGA, "M parameters")}


def render_fidelity(judgement: Judgement) -> str:
    """Return the page as text; the same input gives the same bytes."""
    title = f"How far to trust {judgement.proxy.name}"
    header = element(
        "header",
        element("h1", title),
        element("p", f"{headline(judgement)}.", class_="headline"),
        _cards(judgement),
    )
    return document(title, header, _figures(judgement), _plots(judgement), _networks(judgement))


def _cards(judgement: Judgement) -> Html:
    over_all, in_band = judgement.over_all, judgement.in_band
    cards = [
        _card(f"Kendall, {where}", region, "kendall")
        for where, region in (("all networks", over_all), ("in the band", in_band))
    ]
    cards += [_card(STATISTICS[key], over_all, key) for key in ("spearman", "top_overlap")]
    return element("div", *cards, class_="cards")


def _card(title: str, region: Region, statistic: str) -> Html:
    own, *bars = (f"{_value(one.estimates[statistic])}" for one in region.scores)
    names = [one.name for one in region.scores[1:]]
    beside = [
        part
        for name, text in zip(names, bars, strict=True)
        for part in (f"{name} ", element("b", text), " ")
    ]
    return element(
        "div",
        element("p", title, class_="name"),
        element("p", own, class_="value"),
        element("p", *beside, class_="change"),
        class_="card",
    )


def _value(estimate: Estimate) -> str:
    return f"{estimate.value:.3f}" if isfinite(estimate.value) else NONE


def _figures(judgement: Judgement) -> Html:
    times = [seconds_text(one.seconds) for one in judgement.scores]
    parts = []
    for title, region in regions(judgement):
        found = region.repeatability
        said = [element("p", repeatability_text(found))] if found else []
        parts.append(element("article", element("h3", title), _table(region, times), *said))
    notes = element("ul", *(element("li", note) for note in judgement.notes))
    return element(
        "section",
        element("h2", "Rank agreement with the accuracy reached"),
        element("p", INTERVALS),
        *parts,
        element("article", element("p", cost_text(judgement)), notes),
        element("article", draw_facts(judgement.facts)),
    )


def _table(region: Region, times: Sequence[str]) -> Html:
    head = [element("th", one, scope="col") for one in ("", "a network", *STATISTICS.values())]
    rows = [
        _row(one.name, time, one, is_difference=False)
        for one, time in zip(region.scores, times, strict=True)
    ]
    rows += [_row(f"over {one.name}", "", one, is_difference=True) for one in region.differences]
    return scrolled_table(head, rows)


def _row(name: str, time: str, figures: Figures, *, is_difference: bool) -> Html:
    texts = [
        estimate_text(figures.estimates[key], is_difference=is_difference) for key in STATISTICS
    ]
    cells = (element("td", text) for text in (time, *texts))
    return element("tr", element("th", name, scope="row"), *cells)


def _plots(judgement: Judgement) -> Html:
    parts = []
    for one in judgement.scores:
        points, across = _points(judgement, one.name)
        plot = (
            draw_marked_scatter(points, _words(across))
            if points
            else element("p", "It has no figure for any network.")
        )
        parts.append(element("article", element("h3", one.name), plot))
    return element("section", element("h2", "Network by network"), *parts)


def _words(across: str) -> Words:
    return Words(
        across=across, up="top-1 reached in %", marked="in the band", others="other networks"
    )


def _points(judgement: Judgement, name: str) -> tuple[list[Point], str]:
    scale, across = _UNITS.get(name, (1.0, f"score by {name}"))
    scores = next(one for one in judgement.scores if one.name == name).mean_values / scale
    reached = judgement.truths.top1.mean(axis=0)
    points = [
        Point(
            figure=float(score),
            top1=float(top1),
            is_marked=bool(is_in_band),
            text=f"{key}\n{top1:.2f} % reached\n{score:.4g} {across}",
        )
        for score, top1, is_in_band, key in zip(
            scores, reached, judgement.selection.in_band, _keys(judgement), strict=True
        )
        if isfinite(score) and isfinite(top1)
    ]
    return points, across


def _keys(judgement: Judgement) -> list[str]:
    return [arch.key() for arch in judgement.selection.archs]


def _networks(judgement: Judgement) -> Html:
    note = element("p", "Select the title of a column to sort by it.", class_="scripted")
    names = [judgement.selection.unit if one == "cost" else one for one in _COLUMNS]
    head = [element("th", element("button", one, type="button"), scope="col") for one in names]
    said, reached = judgement.proxy.mean_values, judgement.truths.top1.mean(axis=0)
    rows = []
    for number, row in enumerate(judgement.networks()):
        cells = [
            (_known(reached[number], ".2f"), reached[number]),
            (_known(said[number], ".4g"), said[number]),
            (ms_text(judgement.selection.ms[number]), judgement.selection.ms[number]),
            (mega_text(row["macs"]), row["macs"]),
            (mega_text(row["params"]), row["params"]),
        ]
        # What has no figure sorts below what has one.
        figures = [
            element("td", text, data_value=f"{value if isfinite(value) else -1e300:.6g}")
            for text, value in cells
        ]
        band = element("td", "yes" if row["is_in_band"] else "no")
        rows.append(element("tr", element("th", row["key"], scope="row"), band, *figures))
    return element("section", element("h2", "All networks"), note, scrolled_table(head, rows))


def _known(value: float, form: str) -> str:
    return format(value, form) if isfinite(value) else NONE
