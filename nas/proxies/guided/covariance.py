"""How alike the accuracies of two networks are expected to be, and the numbers behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nas.proxies.features import Array

LEVEL_VARIANCE = 4.0
"""Of the constant term; this and all that follows in units of the accuracies seen."""
_EFFECT_STD = 0.2
"""Expected standard deviation of what one property does."""
_CAPACITY_STD = 0.7
_BEND_STD = 0.3
_BEND_CURVATURE = 1.0
_NOISE_STD = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariance:
    """A constant, straight effects of the properties, a bend of their sum, and noise.

    `effects` (properties,) are the variances of the straight effects. The bend, of variance
    `bend`, fades with the squared distance that the same effects make, times `curvature`: what
    matters much interacts much, so that it needs no lengths of its own. `noise` is the variance of
    a training of one network.
    """

    effects: Array
    bend: float
    curvature: float
    noise: float

    @classmethod
    def expected(cls, n_properties: int, noise_std: float | None = None) -> Self:
        """Return the numbers before any network is trained; the last property is the capacity."""
        noise = _NOISE_STD if noise_std is None else noise_std
        return cls(
            effects=np.array([_EFFECT_STD**2] * (n_properties - 1) + [_CAPACITY_STD**2]),
            bend=_BEND_STD**2,
            curvature=_BEND_CURVATURE,
            noise=noise**2,
        )

    def logs(self) -> Array:
        """Return the logarithms of all numbers as one vector."""
        return np.log([*self.effects, self.bend, self.curvature, self.noise])

    @classmethod
    def of_logs(cls, logs: Array) -> Self:
        """Invert `logs`."""
        values = np.exp(logs)
        bend, curvature, noise = map(float, values[-3:])
        return cls(effects=values[:-3], bend=bend, curvature=curvature, noise=noise)

    def rows(self, parts: Sequence[Array]) -> Array:
        """Return the columns of all properties side by side, each scaled by its effect."""
        return np.hstack([np.sqrt(v) * part for v, part in zip(self.effects, parts, strict=True)])

    def between(self, left: Array, right: Array) -> Array:
        """Return the covariance of each of the rows `left` with each of `right`."""
        products = left @ right.T
        squares = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)
        bend = self.bend * np.exp(-self.curvature * np.maximum(0.5 * squares - products, 0))
        return np.asarray(LEVEL_VARIANCE + products + bend)

    def variances(self, rows: Array) -> Array:
        """Return the variance of each row, without noise."""
        return np.asarray(LEVEL_VARIANCE + self.bend + np.einsum("ij,ij->i", rows, rows))

    def root(self, rows: Array) -> Array:
        """Return L of L L' = covariance of trainings of `rows`, noise included."""
        noise = self.noise * np.eye(len(rows))
        return np.asarray(np.linalg.cholesky(self.between(rows, rows) + noise))
