"""Where to write the names of points so that they cover neither each other nor the points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHARACTER = 6.8
"""Width of a character of the labels' font, in units of the drawing; a little generous."""
LINE = 14.0
GAP = 10.0
_PLACES = (
    ("start", 0),
    ("end", 0),
    ("middle", 1),
    ("middle", -1),
    ("start", 1),
    ("end", -1),
    ("start", -1),
    ("end", 1),
)
"""The anchor of the text, as in SVG, and on, below or above the point: the best place first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Tell whether the two share more than an edge."""
        is_beside = self.right <= other.left or other.right <= self.left
        return not (is_beside or self.bottom <= other.top or other.bottom <= self.top)

    def holds(self, other: "Box") -> bool:
        """Tell whether `other` lies within."""
        is_within = self.left <= other.left and other.right <= self.right
        return is_within and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A text that starts, ends or is centred (`anchor`) at x."""

    text: str
    anchor: str
    x: float
    middle: float

    @property
    def box(self) -> Box:
        """Return about what the text covers."""
        width = len(self.text) * CHARACTER
        left = self.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * width
        top = self.middle - LINE / 2
        return Box(left=left, top=top, right=left + width, bottom=top + LINE)


def around(x: float, y: float, radius: float) -> Box:
    """Return the square about a point."""
    return Box(left=x - radius, top=y - radius, right=x + radius, bottom=y + radius)


def place_labels(
    points: Sequence[tuple[float, float, str]], obstacles: Sequence[Box], frame: Box
) -> list[Label | None]:
    """Return a label for each text beside its point, or None where no free place is left.

    The first points choose first.
    """
    taken = list(obstacles)
    placed: list[Label | None] = []
    for x, y, text in points:
        free = (
            label
            for label in _labels(x, y, text)
            if frame.holds(label.box) and not any(label.box.overlaps(other) for other in taken)
        )
        placed.append(label := next(free, None))
        taken += [label.box] if label else []
    return placed


def _labels(x: float, y: float, text: str) -> Iterator[Label]:
    for anchor, row in _PLACES:
        # Diagonal places may be nearer: the point's corner is farther than its side.
        gap = 0.0 if anchor == "middle" else GAP / 2 if row else GAP
        left = x + {"start": gap, "middle": 0.0, "end": -gap}[anchor]
        yield Label(text=text, anchor=anchor, x=left, middle=y + row * (GAP + LINE / 2))
