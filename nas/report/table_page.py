"""The report of a latency table as one HTML page: how far to trust it, and what it tells."""

from pathlib import Path

from nas.latency.answers import answers, sizes_text, slowest
from nas.latency.check import Check
from nas.latency.summary import references, trust
from nas.latency.table import LatencyTable
from nas.report.check_figures import draw_check_cards, draw_check_figures, draw_checked_networks
from nas.report.check_scatter import draw_check_scatter
from nas.report.document import document
from nas.report.figures import ms_text, signed
from nas.report.markup import Html, element
from nas.report.summary import draw_facts

N_SLOWEST = 12
_AGAIN = (
    "The machine again: the same networks measured twice, in the even and in the odd rounds of one "
    "run. Half of the rounds make a rougher figure than all, so a table can be better than that."
)
_PAIRS = (
    "The median over pairs of layers in the table that differ in that one property only, in ms and "
    "in per cent of the layer without it; by input size where sizes differ much."
)


def report_path(table: Path) -> Path:
    """Return where the report of a table lies."""
    return table.with_suffix(".html")


def render_table_report(table: LatencyTable, check: Check | None = None) -> str:
    """Return the page as text; what the table or the check does not hold is left out."""
    is_checked = check is not None and bool(check.networks)
    [(_, said)] = trust(table)
    title = f"Latency table {table.name}"
    header = element(
        "header",
        element("h1", title),
        element("p", said, class_="headline"),
        draw_check_cards(check) if check and is_checked else Html(""),
    )
    parts = [_check(check)] if check and is_checked else []
    parts += [_answers(table), _slowest(table), _conditions(table)]
    parts += [_networks(check)] if check and is_checked else []
    return document(title, header, *parts)


def _check(check: Check) -> Html:
    return _section(
        "Whole networks: predicted against measured",
        draw_check_scatter(check.networks),
        element("p", _AGAIN),
        draw_check_figures(check),
    )


def _answers(table: LatencyTable) -> Html:
    found = answers(table)
    if not found:
        return Html("")
    names = ("choice", "pairs", "ms", "per cent", "by input size")
    head = element("tr", *(element("th", name, scope="col") for name in names))
    rows = [
        element(
            "tr",
            element("th", one.name, scope="row"),
            element("td", str(one.n)),
            element("td", signed(one.ms, 3)),
            element("td", f"{signed(one.percent, 1)} %"),
            element("td", sizes_text(one)),
        )
        for one in found
    ]
    body = element("table", element("thead", head), element("tbody", *rows), class_="comparison")
    note = element("p", _PAIRS)
    return _section("What a choice costs", note, element("div", body, class_="scroll"))


def _slowest(table: LatencyTable) -> Html:
    rows = slowest(table.rows, N_SLOWEST)
    most = rows[0].ms
    bars = [
        element(
            "li",
            element("code", str(row.layer)),
            element("span", element("span", style=f"--share:{row.ms / most:.2%}"), class_="track"),
            element("span", ms_text(row.ms, most), class_="value"),
        )
        for row in rows
    ]
    return _section("Slowest layers, ms", element("ol", *bars, class_="bars"))


def _conditions(table: LatencyTable) -> Html:
    known = {key.replace("_", " "): value for key, value in table.header.items()}
    shown = {
        key: value for key, value in known.items() if value and not key.startswith(("check", "ver"))
    }
    sums = {name: f"{ms_text(ms)} ms, the sum of its layers" for name, ms in references(table)}
    return _section("Conditions", draw_facts({"rows": f"{len(table.rows):,}", **shown, **sums}))


def _networks(check: Check) -> Html:
    note = element("p", "Select the title of a column to sort by it.", class_="scripted")
    return _section("All checked networks", note, draw_checked_networks(check.networks))


def _section(title: str, *content: Html) -> Html:
    return element("section", element("h2", title), *(element("article", one) for one in content))
