"""The head of a study: what was found, and how it was searched."""

from collections.abc import Mapping
from dataclasses import dataclass

from nas.candidate import Candidate
from nas.report.figures import MEGA, NONE, count_text, mega_text, ms_text, signed, top1_text
from nas.report.markup import Html, element
from nas.report.study import StudyReport


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    name: str
    unit: str
    text: str
    value: float


def draw_facts(facts: Mapping[str, str]) -> Html:
    """Return names and values in the given order."""
    pairs = [
        element("div", element("dt", name), element("dd", value)) for name, value in facts.items()
    ]
    return element("dl", *pairs, class_="facts")


def draw_cards(winner: Candidate, reference: Candidate | None) -> Html:
    """Return the winner's figures, each beside the reference's."""
    theirs = _figures(reference) if reference else [None] * 5
    pairs = zip(_figures(winner), theirs, strict=True)
    return element("div", *(_card(ours, beside) for ours, beside in pairs), class_="cards")


def draw_study_facts(study: StudyReport) -> Html:
    """Return how the study searched."""
    low, high = study.bounds_ms
    return draw_facts(
        {
            "search space": f"{study.space}, {count_text(study.space_size)} networks",
            "reachable": f"{ms_text(low)} to {ms_text(high)} ms",
            "target": f"{ms_text(study.target_ms)} ms",
            "objective": study.objective,
            "sampler": study.sampler,
            "evaluated": f"{study.n_networks:,} networks in {study.n_trials:,} trials",
            "time": f"{study.seconds:,.1f} s",
        }
    )


def draw_headline(study: StudyReport) -> Html:
    """Return the result in one sentence."""
    winner, reference = study.winner, study.reference
    name = element("b", winner.name)
    found = f" reaches {top1_text(winner)} % top-1 in {ms_text(winner.ms)} ms"
    if reference is None:
        return element("p", name, f"{found}.", class_="headline")
    change = _change(winner.ms, reference.ms)
    versus = f": {signed(winner.top1 - reference.top1, 2)} points and {change} latency against "
    return element("p", name, found, versus, element("b", reference.name), ".", class_="headline")


def _figures(candidate: Candidate) -> list[_Figure]:
    memory = candidate.peak_memory_bytes
    rows = (
        ("top-1", "%", top1_text(candidate), candidate.top1),
        ("latency", "ms", ms_text(candidate.ms), candidate.ms),
        ("MAdds", "M", mega_text(candidate.macs), candidate.macs),
        ("parameters", "M", mega_text(candidate.params), candidate.params),
        ("peak memory", "MB", f"{memory / MEGA:.2f}", memory),
    )
    return [_Figure(name=n, unit=u, text=text, value=value) for n, u, text, value in rows]


def _card(ours: _Figure, theirs: _Figure | None) -> Html:
    parts = [
        element("p", ours.name, class_="name"),
        element("p", ours.text, " ", element("small", ours.unit), class_="value"),
    ]
    if theirs:
        is_share = ours.unit == "%"
        gain = f"{signed(ours.value - theirs.value, 2)} points"
        change = element("b", gain if is_share else _change(ours.value, theirs.value))
        parts.append(element("p", change, f" from {theirs.text}", class_="change"))
    return element("div", *parts, class_="card")


def _change(value: float, reference: float) -> str:
    return f"{signed(100 * (value / reference - 1), 1)} %" if reference else NONE
