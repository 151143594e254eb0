"""What a latency table tells about its device: what each choice in a network costs there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nas.arch import Layer
from nas.latency.pairs import matched_pairs
from nas.latency.table import LatencyTable, Row

# Sizes are told apart where one is dearer than another by this many points and this factor.
MUCH_POINTS = 5.0
MUCH_FACTOR = 1.5
MIN_PAIRS = 3
MAX_SIZES = 6
N_SLOWEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a property costs one layer of `size` pixels: in ms, and in percent of it without."""

    size: int
    ms: float
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a property costs: the differences of matched pairs, its statistics as properties."""

    name: str
    differences: tuple[Difference, ...]

    @property
    def n(self) -> int:
        """Return the number of pairs."""
        return len(self.differences)

    @property
    def ms(self) -> float:
        """Return the median over the pairs in ms."""
        return median(one.ms for one in self.differences)

    @property
    def percent(self) -> float:
        """Return the median over the pairs in percent of the layer without it."""
        return median(one.percent for one in self.differences)

    @property
    def percent_by_size(self) -> dict[int, float]:
        """Return the median percent at the input sizes of most pairs, the largest size first.

        Empty where sizes do not differ by much.
        """
        groups: dict[int, list[float]] = {}
        for one in self.differences:
            groups.setdefault(one.size, []).append(one.percent)
        enough = [size for size, found in groups.items() if len(found) >= MIN_PAIRS]
        common = sorted(enough, key=lambda size: -len(groups[size]))[:MAX_SIZES]
        found = {size: median(groups[size]) for size in sorted(common, reverse=True)}
        low, high = min(found.values(), default=0.0), max(found.values(), default=0.0)
        return found if high - low > MUCH_POINTS and high > MUCH_FACTOR * low else {}

    def __str__(self) -> str:
        pairs = "1 pair" if self.n == 1 else f"{self.n} pairs of layers"
        return f"{self.ms:+8.3f} ms  {self.percent:+6.1f} %  median of {pairs}"


def answers(table: LatencyTable) -> list[Answer]:
    """Return what the table's rows tell of h-swish, SE, kernels and expansions.

    Each is exact for the rows that differ in that one property only; a question that no pair of
    rows can answer is left out.
    """
    pairs = matched_pairs(table.rows)
    return [
        Answer(
            name=name,
            differences=tuple(
                _difference(table.rows[without], table.rows[layer]) for without, layer in found
            ),
        )
        for name, found in pairs.items()
    ]


def slowest(rows: Mapping[Layer, Row], n: int = N_SLOWEST) -> Sequence[Row]:
    """Return the `n` rows of greatest ms, the slowest first."""
    return sorted(rows.values(), key=lambda row: -row.ms)[:n]


def sizes_text(answer: Answer) -> str:
    """Return the answer by input size on one line; empty where sizes differ little."""
    by_size = answer.percent_by_size.items()
    return ", ".join(f"@{size} {percent:+.0f} %" for size, percent in by_size)


def _difference(without: Row, row: Row) -> Difference:
    ms = row.ms - without.ms
    return Difference(size=row.layer.size, ms=ms, percent=100 * ms / without.ms)
