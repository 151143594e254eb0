"""What a table says at a glance."""

from statistics import median

from nas.arch import Arch
from nas.latency.readings import STABLE_SPREAD
from nas.latency.table import LatencyTable, Row

REFERENCES = ("mobilenet_v3_large", "mobilenet_v3_small")
N_SLOWEST = 5


def summary(table: LatencyTable) -> list[tuple[str, str]]:
    """Return what to say of a table, as names and values; what it does not hold is left out."""
    rows = list(table.rows.values())
    slowest = sorted(rows, key=lambda row: -row.ms)[:N_SLOWEST]
    lines = [("rows", str(len(rows)))]
    lines += [("slowest layer", f"{row.ms:8.3f} ms  {row.layer}") for row in slowest]
    for name in REFERENCES:
        arch = Arch.load(name)
        if not table.missing(arch):
            lines.append((name, f"{table.predict_ms(arch):8.3f} ms  the sum of its layers"))
    return lines + _trust(table, [row for row in rows if row.source == "measured"])


def _trust(table: LatencyTable, measured: list[Row]) -> list[tuple[str, str]]:
    if not measured:
        return []
    spreads = [row.iqr_ms / row.ms for row in measured]
    n_unstable = sum(spread >= STABLE_SPREAD for spread in spreads)
    lines = [("median IQR / ms", f"{100 * median(spreads):.1f} %")]
    if "anchor_drift_percent" in table.header:
        lines.append(("anchor drift", f"{table.header['anchor_drift_percent']} %"))
    if n_unstable:
        advice = "quiet the machine and measure again with fresh=true"
        lines.append(("unstable rows", f"{n_unstable} (IQR of 10 % or more): {advice}"))
    return lines
