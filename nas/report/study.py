"""What the report is told of one search."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.candidate import Candidate

Point = tuple[int, float, float]
"""Number of a trial, its latency in ms and its top-1 in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """One study: how it searched, what it evaluated and what it found.

    `bounds_ms` is the least and greatest latency in the space; `n_networks` counts the distinct
    networks evaluated; `front` is in any order; `reference` is the network to beat, if any.
    """

    name: str
    space: str
    space_size: int
    sampler: str
    objective: str
    n_trials: int
    n_networks: int
    seconds: float
    target_ms: float
    bounds_ms: tuple[float, float]
    points: Sequence[Point]
    winner: Candidate
    front: Sequence[Candidate]
    reference: Candidate | None

    @property
    def notable(self) -> list[Candidate]:
        """Return the networks that every plot must show."""
        return [*self.front, self.winner, *([self.reference] if self.reference else [])]
