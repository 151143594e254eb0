"""The table of all candidates, sorted by a click on a column."""

from collections.abc import Sequence

from nas.candidate import Candidate
from nas.report.figures import MEGA, NONE, mega_text, ms_text, top1_text
from nas.report.markup import Html, element, scrolled_table
from nas.report.study import StudyReport

COLUMNS = (
    "network",
    "role",
    "top-1 %",
    "published %",
    "ms",
    "MAdds M",
    "params M",
    "peak memory MB",
)


def draw_comparison(studies: Sequence[StudyReport], baselines: Sequence[Candidate]) -> Html:
    """Return one row a network: winners, baselines, then the fronts."""
    head = [element("th", element("button", name, type="button"), scope="col") for name in COLUMNS]
    candidates = _candidates(studies, baselines)
    fastest = min((one.ms for one in candidates), default=None)
    rows = [_row(one, fastest) for one in candidates]
    return scrolled_table(head, rows)


def _candidates(studies: Sequence[StudyReport], baselines: Sequence[Candidate]) -> list[Candidate]:
    references = [study.reference for study in studies if study.reference]
    fronts = [
        candidate
        for study in studies
        for candidate in sorted(study.front, key=lambda one: one.ms)
        if candidate.arch.key() != study.winner.arch.key()
    ]
    hand_designed = sorted([*baselines, *references], key=lambda one: one.ms)
    unique = {(one.name, one.arch.key()): one for one in hand_designed}
    return [*(study.winner for study in studies), *unique.values(), *fronts]


def _row(candidate: Candidate, fastest: float | None) -> Html:
    published = candidate.published_top1
    cells: list[tuple[str, float]] = [
        (top1_text(candidate), candidate.top1),
        (NONE if published is None else f"{published:.1f}", published or 0.0),
        (ms_text(candidate.ms, fastest), candidate.ms),
        (mega_text(candidate.macs), candidate.macs / MEGA),
        (mega_text(candidate.params), candidate.params / MEGA),
        (f"{candidate.peak_memory_bytes / MEGA:.2f}", candidate.peak_memory_bytes / MEGA),
    ]
    role = f"{candidate.group} {candidate.study}".strip()
    return element(
        "tr",
        element("th", candidate.name, scope="row"),
        element("td", role),
        *(element("td", text, data_value=f"{value:.6g}") for text, value in cells),
        class_=candidate.group if candidate.group in ("winner", "pareto") else "baseline",
    )
