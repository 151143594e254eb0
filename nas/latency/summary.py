"""What a table says at a glance."""

from math import isfinite
from statistics import median

from nas.arch import Arch
from nas.latency.answers import answers, sizes_text, slowest
from nas.latency.device_offsets import devices_said
from nas.latency.readings import STABLE_SPREAD
from nas.latency.table import LatencyTable, Row
from nas.latency.verdict import figure, verdict

REFERENCES = ("mobilenet_v3_large", "mobilenet_v3_small")
Lines = list[tuple[str, str]]


def summary(table: LatencyTable) -> Lines:
    """Return what to say of a table, as names and values; what it does not hold is left out."""
    return [
        ("rows", str(len(table.rows))),
        *(("slowest layer", f"{row.ms:8.3f} ms  {row.layer}") for row in slowest(table.rows)),
        *_answers(table),
        *_references(table),
        *_steadiness(table),
        *_devices(table),
        *trust(table),
    ]


def references(table: LatencyTable) -> list[tuple[str, float]]:
    """Return the networks of the paper that the table holds, with their ms."""
    archs = [arch for arch in map(Arch.load, REFERENCES) if not table.missing(arch)]
    return [(arch.name, table.predict_ms(arch)) for arch in archs]


def trust(table: LatencyTable) -> Lines:
    """Return how far a table can be trusted, as far as its header and its rows tell."""
    said = verdict(table.header)
    if said:
        return [("trust", said)]
    if any(row.source == "measured" for row in table.rows.values()):
        return [("trust", "Not checked on whole networks: take its sums for ranks, not for ms.")]
    error = table.header.get("error")
    more = f" Its error: {error}." if error else ""
    return [("trust", f"Modelled: nothing was timed on the device by this program.{more}")]


def _answers(table: LatencyTable) -> Lines:
    lines = []
    for answer in answers(table):
        lines.append((answer.name, str(answer)))
        if sizes := sizes_text(answer):
            lines.append(("", f"             {sizes}"))
    return lines


def _references(table: LatencyTable) -> Lines:
    error = figure(table.header, "check_mean_error_percent")
    doubt = f", ± {error:.1f} %" if isfinite(error) else ""
    return [(name, f"{ms:8.3f} ms  the sum of its layers{doubt}") for name, ms in references(table)]


def _devices(table: LatencyTable) -> Lines:
    said = devices_said(table.header)
    return [("devices", said)] if said else []


def _steadiness(table: LatencyTable) -> Lines:
    measured: list[Row] = [row for row in table.rows.values() if row.source == "measured"]
    if not measured:
        return []
    spreads = [row.iqr_ms / (row.isolated_ms or row.ms) for row in measured]
    n_unstable = sum(spread >= STABLE_SPREAD for spread in spreads)
    lines = [("median IQR / ms", f"{100 * median(spreads):.1f} %")]
    if "anchor_drift_percent" in table.header:
        lines.append(("anchor drift", f"{table.header['anchor_drift_percent']} %"))
    # A spread is averaged over visits and layers; where whole networks tell what is left, they say.
    if n_unstable and not verdict(table.header):
        advice = "quiet the machine and measure again with fresh=true"
        lines.append(("unstable rows", f"{n_unstable} (IQR of 10 % or more): {advice}"))
    return lines
