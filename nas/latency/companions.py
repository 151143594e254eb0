"""What a table's session timed is timed again: it tells how quick the machine is today.

Layers go with new layers. A whole network goes with whole networks: their weights come from memory,
which other guests of a machine slow down while layers that stay in the caches keep their pace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nas.arch import Arch
from nas.baselines import baselines
from nas.latency.check import Check, check_path
from nas.latency.readings import Measurement
from nas.latency.subjects import Subject
from nas.latency.table import LatencyTable

N_LAYERS = 24
N_NETWORKS, MIN_NETWORKS = 5, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """What a table's session timed, and the ms that it took then."""

    subject: Subject
    ms: float


def layer_companions(table: LatencyTable | None) -> list[Companion]:
    """Return measured layers of every price, evenly; none where there is no table."""
    rows = table.rows.values() if table else ()
    by_price = sorted((row for row in rows if row.source == "measured"), key=lambda row: row.ms)
    step = max(1, len(by_price) // N_LAYERS)
    return [
        Companion(subject=Subject.of_layers(row.layer), ms=row.isolated_ms or row.ms)
        for row in by_price[::step]
    ]


def network_companions(arch: Arch, table: LatencyTable | None) -> list[Companion]:
    """Return the hand-designed networks nearest to `arch` of those that a table was checked with.

    The network itself is never among them. Where the table was checked with too few, its layers.

    Raises:
        NasError: the check beside the table is broken.
    """
    path = check_path(table.path) if table and table.path else None
    if table is None or path is None or not path.exists():
        return layer_companions(table)
    then = {one.name: one.measured_ms for one in Check.load(path).networks}
    others = [one for one in baselines() if one.name in then and one.layers != arch.layers]
    if len(others) < MIN_NETWORKS:
        return layer_companions(table)
    ms = table.predict_ms(arch)
    others.sort(key=lambda one: abs(math.log(then[one.name] / ms)))
    return [
        Companion(subject=Subject.of_network(one), ms=then[one.name]) for one in others[:N_NETWORKS]
    ]


def pace(timed: Sequence[Companion], found: Mapping[str, Measurement]) -> float:
    """Return how many times as long as then they take now, in the middle; 1 where none was."""
    return median(found[one.subject.name].ms / one.ms for one in timed) if timed else 1.0
