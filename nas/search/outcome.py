"""What a search leaves behind: candidates, their comparison, the files of the run folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from rich.markup import escape
from rich.table import Table

from nas.arch import Arch
from nas.baselines import published_top1
from nas.candidate import Candidate
from nas.errors import NetworkError
from nas.latency.table import LatencyTable
from nas.report.page import StudyReport, render_report
from nas.results import RunFolder
from nas.search.records import Finished, Proxy
from nas.search.study import TargetSearch
from nas.steps import OnStep
from nas.text import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The hand-designed networks by rising ms, and the names of those left out, by reason."""

    candidates: list[Candidate]
    left_out: dict[str, list[str]]


def compare(archs: Sequence[Arch], table: LatencyTable, proxy: Proxy, on_step: OnStep) -> Compared:
    """Return the networks that the table holds and the proxy can judge, asked one by one."""
    found: list[Candidate] = []
    left_out: dict[str, list[str]] = {}
    for number, arch in enumerate(archs):
        on_step("hand-designed networks", number, len(archs))
        if table.missing(arch):
            left_out.setdefault("not in the table", []).append(arch.name)
            continue
        try:
            top1, std = (float(figures[0]) for figures in proxy.predict([arch]))
        except NetworkError as error:
            left_out.setdefault(str(error), []).append(arch.name)
            continue
        if not isfinite(top1):
            left_out.setdefault("not for the proxy to judge", []).append(arch.name)
            continue
        found.append(_baseline(arch, table, top1, std))
    return Compared(candidates=sorted(found, key=lambda one: one.ms), left_out=left_out)


def _baseline(arch: Arch, table: LatencyTable, top1: float, top1_std: float) -> Candidate:
    return Candidate(
        name=arch.name,
        group="baseline",
        study="",
        arch=arch,
        top1=top1,
        top1_std=top1_std,
        layer_ms=table.layer_ms(arch),
        published_top1=published_top1(arch.name),
    )


def candidate(search: TargetSearch, finished: Finished, group: str) -> Candidate:
    """Return a trial's network as a candidate."""
    name = search.target.name
    arch = search.named_arch(finished, name if group == "winner" else f"{name}-{finished.number}")
    return Candidate(
        name=arch.name,
        group=group,
        study=name,
        arch=arch,
        top1=finished.evaluation.top1,
        top1_std=finished.evaluation.top1_std,
        layer_ms=search.table.layer_ms(arch),
    )


def write_files(
    folder: RunFolder,
    searches: Sequence[TargetSearch],
    others: Sequence[Candidate],
    facts: Mapping[str, str],
    seconds: Mapping[str, float],
) -> list[Candidate]:
    """Write winners, fronts, comparison.csv and report.html; return the rows of the comparison."""
    reports = [_report(search, others, seconds) for search in searches]
    for search, report in zip(searches, reports, strict=True):
        report.winner.arch.save(folder.winner_file(search.target.name))
        folder.save_front(search.target.name, [one.arch for one in report.front])
    compared = [*(report.winner for report in reports), *others]
    folder.write_comparison(compared)
    title = f"Architecture search for {facts['hardware']}"
    write_text(folder.report, render_report(title, facts, reports, others))
    return compared


def _report(
    search: TargetSearch, others: Sequence[Candidate], seconds: Mapping[str, float]
) -> StudyReport:
    target = search.target
    reference = [one for one in others if one.name == target.space.reference]
    winner = search.winner or search.front()[0]
    return StudyReport(
        name=target.name,
        space=target.space.name,
        space_size=target.space.size,
        sampler=search.sampler_name,
        objective=type(target.objective).__name__,
        n_trials=len(search.finished),
        n_networks=search.n_networks,
        seconds=seconds[target.name],
        target_ms=target.target_ms,
        bounds_ms=search.table.bounds_ms(target.space),
        points=[(one.number, one.evaluation.ms, one.evaluation.top1) for one in search.whole],
        winner=candidate(search, winner, "winner"),
        front=[candidate(search, one, "pareto") for one in search.front()],
        reference=reference[0] if reference else None,
    )


def comparison_table(compared: Iterable[Candidate]) -> Table:
    """Return the table that the command prints."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("network", no_wrap=True)
    for name in ("top-1 %", "paper", "ms", "MAdds", "params", "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in compared:
        table.add_row(
            escape(one.name),
            f"{one.top1:.1f} ± {one.top1_std:.1f}",
            "" if one.published_top1 is None else f"{one.published_top1:.1f}",
            f"{one.ms:.2f}",
            f"{one.macs / 1e6:.0f} M",
            f"{one.params / 1e6:.2f} M",
            f"{one.peak_memory_bytes / 1e6:.1f} MB",
            style="bold green" if one.group == "winner" else "",
        )
    return table
