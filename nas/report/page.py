"""The report as one HTML page: no network, no library, nothing that is not in the file."""

from collections.abc import Mapping, Sequence

from nas.candidate import Candidate
from nas.report.comparison import draw_comparison
from nas.report.document import document
from nas.report.figures import TIMES
from nas.report.markup import Html, element, join
from nas.report.networks import draw_latency, draw_networks
from nas.report.scatter import draw_scatter
from nas.report.study import StudyReport
from nas.report.summary import draw_cards, draw_facts, draw_headline, draw_study_facts

__all__ = ["StudyReport", "render_report"]

_BOXES = (
    "A row is a stage, a box a block: its kernel, its expanded channels (the wider, the more), "
    "SE for squeeze-and-excite, hs for h-swish instead of ReLU."
)


def render_report(
    title: str,
    facts: Mapping[str, str],
    studies: Sequence[StudyReport],
    baselines: Sequence[Candidate],
) -> str:
    """Return the page as text; the same input gives the same bytes.

    `facts` says how the figures came about (hardware, table, proxy, seed ...), shown as given.
    """
    sections = [
        _study(study, baselines, f"study-{number}") for number, study in enumerate(studies, start=1)
    ]
    header = element("header", element("h1", title), draw_facts(facts), _contents(studies))
    return document(title, header, *sections, _comparison(studies, baselines))


def _contents(studies: Sequence[StudyReport]) -> Html:
    links = [
        element("a", study.name, href=f"#study-{number}")
        for number, study in enumerate(studies, start=1)
    ]
    return element(
        "nav", *links, element("a", "all networks", href="#networks"), aria_label="Contents"
    )


def _study(study: StudyReport, baselines: Sequence[Candidate], anchor: str) -> Html:
    return element(
        "section",
        element("h2", study.name),
        draw_headline(study),
        draw_cards(study.winner, study.reference),
        draw_study_facts(study),
        _part("Accuracy against latency", draw_scatter(study, baselines)),
        _part("Stage by stage", element("p", _BOXES), _legend(), _networks(study)),
        _part("Latency by layer", draw_latency(study.winner, study.reference)),
        id=anchor,
    )


def _networks(study: StudyReport) -> Html:
    return draw_networks(study.winner, study.reference)


def _part(title: str, *content: Html) -> Html:
    return element("article", element("h3", title), join(content))


def _legend() -> Html:
    items = [
        element("li", element("span", class_=f"key k{kernel}"), f"{kernel}{TIMES}{kernel}{more}")
        for kernel, more in {1: "", 3: "", 5: "", 7: " and more"}.items()
    ]
    return element("ul", *items, class_="legend")


def _comparison(studies: Sequence[StudyReport], baselines: Sequence[Candidate]) -> Html:
    note = element("p", "Select the title of a column to sort by it.", class_="scripted")
    table = draw_comparison(studies, baselines)
    return element("section", element("h2", "All networks"), note, table, id="networks")
