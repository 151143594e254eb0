"""Two latency tables side by side: one scale between the devices, and what it leaves unexplained.

Devices of different speed are compared by the ratio b / a of their rows. Its median is the scale;
a row, a property or a network that is dearer on b by more than the scale is `relatively` dear.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log
from statistics import median

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.agreement import kendall_tau, spearman_rho
from nas.latency.pairs import matched_pairs, properties
from nas.latency.table import LatencyTable

# Fewer rows than this say more of themselves than of what they have in common.
MIN_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """What something costs on a and on b, and how much dearer it is on b once scaled."""

    name: str
    n: int
    a_ms: float
    b_ms: float
    relative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedNetwork:
    """A network on both devices, with its rank among those compared, the fastest 1."""

    name: str
    a_ms: float
    b_ms: float
    a_rank: int
    b_rank: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The rows that two tables share, as pairs of ms; the others are counted."""

    shared: Mapping[Layer, tuple[float, float]]
    n_only_a: int
    n_only_b: int

    @classmethod
    def of(cls, a: LatencyTable, b: LatencyTable) -> "Comparison":
        """Pair the rows of two tables.

        Raises:
            NasError: they have no layer in common.
        """
        shared = {
            layer: (row.ms, b.rows[layer].ms) for layer, row in a.rows.items() if layer in b.rows
        }
        if not shared:
            raise NasError(
                f"two tables must have layers in common, but {a.name} ({len(a.rows)} rows) and "
                f"{b.name} ({len(b.rows)} rows) have none. Add the same space= or arch= to both: "
                "python -m nas.latency"
            )
        n_only = (len(table.rows) - len(shared) for table in (a, b))
        return cls(shared=shared, n_only_a=next(n_only), n_only_b=next(n_only))

    @property
    def scale(self) -> float:
        """Return the median over the shared rows of b's ms over a's."""
        return median(b_ms / a_ms for a_ms, b_ms in self.shared.values())

    @property
    def tau(self) -> float:
        """Return Kendall's tau-b of the shared rows."""
        return kendall_tau(*self._columns())

    @property
    def rho(self) -> float:
        """Return Spearman's rank correlation of the shared rows."""
        return spearman_rho(*self._columns())

    def _columns(self) -> tuple[list[float], list[float]]:
        pairs = self.shared.values()
        return [a_ms for a_ms, _ in pairs], [b_ms for _, b_ms in pairs]

    def rows(self) -> list[Ratio]:
        """Return the shared rows, the relatively dearest on b first."""
        scale = self.scale
        found = [
            _ratio(str(layer), 1, a_ms, b_ms, scale) for layer, (a_ms, b_ms) in self.shared.items()
        ]
        return sorted(found, key=lambda one: -one.relative)

    def by_property(self) -> list[Ratio]:
        """Return every property of layers, by how far it departs from the scale, either way.

        The ms are medians over the rows with that property, `relative` is the median of their
        ratios; what the rows have besides the property counts as well.
        """
        groups: dict[str, list[tuple[float, float]]] = {}
        for layer, ms in self.shared.items():
            for name in properties(layer):
                groups.setdefault(name, []).append(ms)
        scale = self.scale
        return _departing(
            Ratio(
                name=name,
                n=len(found),
                a_ms=median(a_ms for a_ms, _ in found),
                b_ms=median(b_ms for _, b_ms in found),
                relative=median(b_ms / a_ms for a_ms, b_ms in found) / scale,
            )
            for name, found in groups.items()
            if len(found) >= MIN_ROWS
        )

    def by_choice(self) -> list[Ratio]:
        """Return what each choice adds on both devices: the median over its matched pairs.

        The same pairs are taken on both; a choice that is free on either has no ratio, and is left
        out.
        """
        scale = self.scale
        found = []
        for name, pairs in matched_pairs(self.shared).items():
            a_ms, b_ms = (
                median(
                    self.shared[layer][side] - self.shared[without][side]
                    for without, layer in pairs
                )
                for side in (0, 1)
            )
            if len(pairs) >= MIN_ROWS and a_ms > 0 and b_ms > 0:
                found.append(_ratio(name, len(pairs), a_ms, b_ms, scale))
        return _departing(found)


def compared_networks(
    archs: Iterable[Arch], a: LatencyTable, b: LatencyTable
) -> list[ComparedNetwork]:
    """Return the networks that both tables hold, the fastest on a first."""
    times = {
        arch.name: (a.predict_ms(arch), b.predict_ms(arch))
        for arch in archs
        if not (a.missing(arch) or b.missing(arch))
    }
    a_order, b_order = (sorted(times, key=lambda name: times[name][side]) for side in (0, 1))
    return [
        ComparedNetwork(
            name=name,
            a_ms=times[name][0],
            b_ms=times[name][1],
            a_rank=a_rank,
            b_rank=b_order.index(name) + 1,
        )
        for a_rank, name in enumerate(a_order, start=1)
    ]


def _ratio(name: str, n: int, a_ms: float, b_ms: float, scale: float) -> Ratio:
    return Ratio(name=name, n=n, a_ms=a_ms, b_ms=b_ms, relative=b_ms / a_ms / scale)


def _departing(ratios: Iterable[Ratio]) -> list[Ratio]:
    return sorted(ratios, key=lambda one: -abs(log(one.relative)))
