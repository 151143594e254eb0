"""The words for a judgement's figures: the same on the screen and on the page."""

from math import isfinite

from nas.fidelity.figures import Region, Repeatability
from nas.fidelity.judgement import Judgement
from nas.fidelity.rank_agreement import CONFIDENCE, TOP_SHARE, Estimate
from nas.report.figures import NONE, signed

STATISTICS = {
    "spearman": "Spearman",
    "kendall": "Kendall",
    "top_overlap": f"top {TOP_SHARE:.0%} shared",
}
"""The titles of the statistics."""
INTERVALS = f"In brackets: {CONFIDENCE:.0%} of the resampled sets of networks lie there."


def headline(judgement: Judgement) -> str:
    """Return what was judged, on what."""
    proxy = judgement.proxy
    taught = ""
    if proxy.n_labels:
        taught = f", taught {proxy.n_labels} of them in each of {len(proxy.values)} splits"
    n = len(judgement.selection)
    return f"{proxy.name} on {n} networks of {judgement.truths.origin}{taught}"


def regions(judgement: Judgement) -> tuple[tuple[str, Region], tuple[str, Region]]:
    """Return both regions, each with its title."""
    selection, over_all, in_band = judgement.selection, judgement.over_all, judgement.in_band
    middle = f"{selection.median_ms:.4g} {selection.unit}"
    return (
        (f"All {count_text(over_all.n)}", over_all),
        (f"Within {selection.band:.0%} of {middle}: {count_text(in_band.n)}", in_band),
    )


def count_text(n: float) -> str:
    """Return a number of networks, which may be a mean over splits."""
    return f"{n:.0f} networks" if n == round(n) else f"{n:.1f} networks on average"


def estimate_text(estimate: Estimate, *, is_difference: bool = False) -> str:
    """Return a figure and its interval; a dash where there is no figure."""
    if not isfinite(estimate.value):
        return NONE
    value = signed(estimate.value, 3) if is_difference else f"{estimate.value:.3f}"
    if not isfinite(estimate.low):
        return value
    ends = (estimate.low, estimate.high)
    low, high = (signed(one, 2) if is_difference else f"{one:.2f}" for one in ends)
    return f"{value} [{low}, {high}]"


def seconds_text(seconds: float) -> str:
    """Return seconds with three digits that matter; a dash where they are not known."""
    if not isfinite(seconds):
        return NONE
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def cost_text(judgement: Judgement) -> str:
    """Return what a figure of one network takes."""
    words = [f"{one.name} {seconds_text(one.seconds)}" for one in judgement.scores]
    if isfinite(judgement.truths.seconds):
        words.append(f"training it {seconds_text(judgement.truths.seconds)}")
    proxy = judgement.proxy
    kind = "learning" if proxy.n_labels else "preparing"
    once = f"; {kind} took {seconds_text(proxy.prepared_s)}" if proxy.prepared_s else ""
    return f"Time for a network: {', '.join(words)}{once}."


def repeatability_text(found: Repeatability) -> str:
    """Return how far two trainings agree, and what that leaves to any proxy."""
    return (
        f"Two trainings of the same networks agree with Kendall {estimate_text(found.tau)}; "
        f"knowing what to expect of each would reach {estimate_text(found.reachable)}. Standard "
        f"deviations of top-1: {found.training_std:.2f} % between trainings of one network and "
        f"{found.network_std:.2f} % between networks."
    )
