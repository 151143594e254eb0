"""Figures as text: the same words in tooltips, cards and tables."""

from collections.abc import Sequence

from nas.arch import Layer
from nas.candidate import Candidate
from nas.cost import count_macs

TIMES, MINUS, NONE = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
MEGA = 1e6


def ms_text(ms: float, scale: float | None = None) -> str:
    """Return milliseconds without the unit, with about three digits that matter.

    Numbers in one column share their decimals by the same `scale`, the greatest of them.
    """
    size = abs(ms if scale is None else scale)
    decimals = 3 if size < 1 else 2 if size < 100 else 1
    return f"{ms:,.{decimals}f}"


def top1_text(candidate: Candidate) -> str:
    """Return the proxy's top-1 and its uncertainty, without the unit."""
    return f"{candidate.top1:.2f} ± {candidate.top1_std:.2f}"


def mega_text(count: float) -> str:
    """Return millions with three digits that matter, without the unit."""
    millions = count / MEGA
    decimals = 2 if millions < 10 else 1 if millions < 100 else 0
    return f"{millions:,.{decimals}f}"


def count_text(count: int) -> str:
    """Return a count: in full below ten million, else as a power of ten."""
    if count < 10_000_000:
        return f"{count:,}"
    exponent = len(str(count)) - 1
    leading = int(str(count)[:3]) / 100
    return f"{leading:.1f} {TIMES} 10{str(exponent).translate(_SUPERSCRIPTS)}"


def signed(value: float, decimals: int) -> str:
    """Return a difference with its sign; a true minus, and no sign on what rounds to zero."""
    text = f"{abs(value):,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return f"±{text}"
    return f"{'+' if value > 0 else MINUS}{text}"


def describe(candidate: Candidate) -> str:
    """Return a candidate's figures, one a line, its name first."""
    lines = [
        candidate.name,
        f"{ms_text(candidate.ms)} ms",
        f"{top1_text(candidate)} % top-1",
        f"{mega_text(candidate.macs)} M MAdds",
        f"{mega_text(candidate.params)} M parameters",
    ]
    if candidate.published_top1 is not None:
        lines.append(f"{candidate.published_top1:.1f} % top-1 published")
    return "\n".join(lines)


def describe_layer(layer: Layer, ms: float, layer_ms: Sequence[float]) -> str:
    """Return a layer's one-line text and its share of the network's time."""
    total = sum(layer_ms)
    percent = 100 * ms / total if total else 0.0
    return (
        f"{layer}\n{ms_text(ms)} ms, {percent:.1f} % of the network\n"
        f"{mega_text(count_macs(layer))} M MAdds"
    )
