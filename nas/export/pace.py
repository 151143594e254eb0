"""What is timed beside a file, to tell how a machine's pace differs from a table's day."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nas.arch import Arch
from nas.baselines import baselines
from nas.latency.assembly import companions
from nas.latency.check import Check, check_path
from nas.latency.readings import Measurement
from nas.latency.subjects import Subject
from nas.latency.table import LatencyTable

N_NETWORKS, MIN_NETWORKS = 5, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """What a table's session timed, and the ms that it took then."""

    subject: Subject
    ms: float


def companions_of(arch: Arch, table: LatencyTable | None) -> list[Companion]:
    """Return the hand-designed networks nearest to `arch` of those that a table was checked with.

    Where it was checked with too few, two dozen of its layers; none without a table. Other guests
    of a machine slow down whole networks, whose weights come from memory, in another measure than
    layers that stay in the caches. The network itself is never among them.

    Raises:
        NasError: the check beside the table is broken.
    """
    if table is None:
        return []
    networks = _networks(arch, table)
    if len(networks) >= MIN_NETWORKS:
        return networks
    rows = (table.rows[layer] for layer in companions(table))
    return [
        Companion(subject=Subject.of_layers(row.layer), ms=row.isolated_ms or row.ms)
        for row in rows
    ]


def pace(timed: Sequence[Companion], found: Mapping[str, Measurement]) -> float:
    """Return how many times as long as then they take now, in the middle of them."""
    return median(found[one.subject.name].ms / one.ms for one in timed) if timed else 1.0


def _networks(arch: Arch, table: LatencyTable) -> list[Companion]:
    path = None if table.path is None else check_path(table.path)
    if path is None or not path.exists():
        return []
    then = {one.name: one.measured_ms for one in Check.load(path).networks}
    others = [one for one in baselines() if one.name in then and one.layers != arch.layers]
    ms = table.predict_ms(arch)
    others.sort(key=lambda one: abs(math.log(then[one.name] / ms)))
    return [
        Companion(subject=Subject.of_network(one), ms=then[one.name]) for one in others[:N_NETWORKS]
    ]
