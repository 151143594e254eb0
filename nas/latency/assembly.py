"""From what a session timed to the rows of a table, and to what checks them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas.arch import Layer
from nas.latency.calibrate import Isolated, Timed, calibrate
from nas.latency.check import Check, CheckedNetwork
from nas.latency.companions import layer_companions, pace
from nas.latency.correction import Correction
from nas.latency.readings import Measurement
from nas.latency.subjects import Probes, Subject
from nas.latency.table import LatencyTable, Row

Measurements = Mapping[str, Measurement]
"""What was timed, by the names of the subjects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a table, and what corrected the new ones."""

    rows: Mapping[Layer, Row]
    correction: Correction | None


def today(known: LatencyTable | None, found: Measurements) -> Measurements:
    """Return the measurements at the pace that the machine had when the table was made."""
    slowness = pace(layer_companions(known), found)
    return {name: measured.slowed(slowness) for name, measured in found.items()}


def assemble(
    wanted: Sequence[Layer], known: LatencyTable | None, probes: Probes, found: Measurements
) -> Rows:
    """Return the table's rows with the wanted ones, corrected by the calibration's probes.

    Without probes, new rows get the correction that the table's earlier ones got.
    """
    kept = dict(known.rows) if known else {}
    new = {layer: _row(layer, found[str(layer)]) for layer in wanted}
    if probes.calibration and wanted:
        isolated = {layer: _prior(row, found, layer in new) for layer, row in (kept | new).items()}
        timed = [Timed(subject=one, ms=found[one.name].ms) for one in probes.calibration]
        calibrated = calibrate(isolated, timed, fixed=kept)
        for layer, row in new.items():
            ms, std_ms = calibrated.ms[layer], calibrated.std_ms[layer]
            new[layer] = replace(row, ms=ms, std_ms=std_ms)
        return Rows(rows=kept | new, correction=calibrated.correction)
    text = known.header.get("correction") if known else None
    correction = Correction.parse(text) if text else None
    if correction:
        new = {layer: _corrected(row, correction) for layer, row in new.items()}
    return Rows(rows=kept | new, correction=correction)


def check(table: LatencyTable, probes: Probes, found: Measurements) -> Check:
    """Return the networks that no calibration saw, as the table predicts them and as they ran."""
    unseen = [_checked(one.name, "unseen", one, table, found) for one in probes.unseen]
    baselines = [
        _checked(name, "baseline", one, table, found) for name, one in probes.baselines.items()
    ]
    return Check(networks=(*unseen, *baselines))


def _row(layer: Layer, measured: Measurement) -> Row:
    ms = measured.ms
    return Row(
        layer=layer,
        ms=ms,
        iqr_ms=measured.iqr_ms,
        n=measured.n,
        isolated_ms=ms,
        n_devices=measured.n_devices,
    )


def _corrected(row: Row, correction: Correction) -> Row:
    isolated_ms = row.isolated_ms or row.ms
    ms = correction.apply(row.layer, isolated_ms)
    return replace(row, ms=ms, std_ms=correction.deviation * isolated_ms)


def _prior(row: Row, found: Measurements, is_new: bool) -> Isolated:
    if is_new:
        return Isolated(ms=row.ms, std_ms=found[str(row.layer)].std_ms)
    return Isolated(ms=row.ms, std_ms=row.std_ms or 0.0)


def _checked(
    name: str, family: str, subject: Subject, table: LatencyTable, found: Measurements
) -> CheckedNetwork:
    measured = found[subject.name]
    first_ms, second_ms = measured.halves_ms
    return CheckedNetwork(
        name=name,
        family=family,
        predicted_ms=sum(table.rows[layer].ms for layer in subject.layers),
        measured_ms=measured.ms,
        first_ms=first_ms,
        second_ms=second_ms,
    )
