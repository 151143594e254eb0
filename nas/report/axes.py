"""The axes of the plot: which range is worth showing, and its round numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

REACH = 0.5
"""How far beyond the core an axis goes for other points, as a share of the core's span."""
PADDING = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A linear scale from values to units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value is drawn."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Tell whether a value lies between the ends."""
        return self.low <= value <= self.high

    def ticks(self, n_wanted: int) -> list[tuple[float, str]]:
        """Return about `n_wanted` round values and their text."""
        rough = (self.high - self.low) / n_wanted
        power = 10.0 ** floor(log10(rough))
        step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
        decimals = max(0, -floor(log10(step)))
        numbers = range(ceil(self.low / step), floor(self.high / step) + 1)
        return [(number * step, f"{number * step:,.{decimals}f}") for number in numbers]


def interesting_range(core: Sequence[float], others: Iterable[float]) -> tuple[float, float]:
    """Return a range with all of `core`, and with those `others` that are near it.

    A network that is twenty times slower than the winner would squash everything else.
    """
    low, high = min(core), max(core)
    # A front of a single network still needs an axis that is wider than nothing.
    span = high - low or abs(high) * 0.1 or 1.0
    near = [v for v in others if low - REACH * span <= v <= high + REACH * span]
    low, high = min([low, *near]), max([high, *near])
    return low - PADDING * span, high + PADDING * span
