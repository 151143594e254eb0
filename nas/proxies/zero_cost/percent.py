"""From scores, which have no unit, to percent, which a search can weigh against latency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError

Array = NDArray[np.float64]
MEAN_TOP1 = 70.0
TOP1_STD = 2.0
"""Percent; what a good score can tell apart of the ImageNet top-1 of a mobile space.

The 4,000 MnasNet-like networks of Accel-NASBench have a standard deviation of 3.3 at a mean of
60.1, which is 2.5 at a mean of 70 when errors shrink alike; a score that correlates at .88 explains
2.2 of that.
"""
COMBINATIONS = ("logs", "standardised")
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentLine:
    """The line from the logs of scores to percent: MEAN_TOP1 + the sum of weight x (log - center).

    `centers` and `weights` have an entry a score.
    """

    centers: Array
    weights: Array

    @classmethod
    def of(cls, logs: Sequence[Array], combination: str) -> Self:
        """Fit the line to the logs (networks, scores) of random networks of each space.

        It is one line for all spaces, so that their networks can be compared. Within a space the
        percents have a standard deviation of TOP1_STD (root mean square over the spaces).

        Raises:
            NasError: a score, or their sum, that does not tell the networks apart.
        """
        own = np.concatenate([some - some.mean(axis=0) for some in logs])
        spreads = own.std(axis=0)
        weights = np.ones(len(spreads))
        if combination == "standardised":
            weights /= np.maximum(spreads, _LEAST_SPREAD)
        spread = float((own @ weights).std())
        if spreads.min() < _LEAST_SPREAD or spread < _LEAST_SPREAD:
            raise NasError(
                "each score, and their sum, must tell random networks of the space apart, but one "
                "is the same for all. Choose others: proxy.scores=[params,snip]"
            )
        return cls(
            centers=np.mean([some.mean(axis=0) for some in logs], axis=0),
            weights=weights * (TOP1_STD / spread),
        )

    def top1(self, logs: Array) -> Array:
        """Return percent for the logs of networks (networks, scores), kept to 0 and 100."""
        return np.asarray(np.clip(MEAN_TOP1 + (logs - self.centers) @ self.weights, 0, 100))
