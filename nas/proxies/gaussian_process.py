"""A Gaussian process seen through landmarks: small enough to ship, sure of nothing far away."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.proxies.features import Array

OFFSET_STD = 10.0
"""Prior standard deviation of the constant term, in units of the target."""
_JITTER = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A constant, a line and a bump: what is known of a point from points like it.

    `slopes` are the prior standard deviations of the line's slopes, one a feature. The bump has
    standard deviation `amplitude` and fades with the distance, each feature times its
    `inverse_lengths`. Far from all data the bump is gone, the line goes on, and the doubt of both
    remains.
    """

    slopes: Array
    inverse_lengths: Array
    amplitude: float

    def __call__(self, left: Array, right: Array) -> Array:
        """Return the prior covariance of each row of `left` with each row of `right`."""
        return self.trend(left, right) + self.bump(left, right)

    def trend(self, left: Array, right: Array) -> Array:
        """Return the part of the covariance of the constant and the line."""
        return np.asarray(OFFSET_STD**2 + (left * self.slopes**2) @ right.T)

    def bump(self, left: Array, right: Array) -> Array:
        """Return the part of the covariance that fades with the distance."""
        a, b = left * self.inverse_lengths, right * self.inverse_lengths
        products = a @ b.T
        squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)[None, :]
        distances = np.maximum(squares - 2 * products, 0)
        return np.asarray(self.amplitude**2 * np.exp(-0.5 * distances))

    def variances(self, points: Array) -> Array:
        """Return the prior variance of each row."""
        line = np.einsum("ij,j->i", points**2, self.slopes**2)
        return np.asarray(OFFSET_STD**2 + self.amplitude**2 + line)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianProcess:
    """A posterior seen through landmarks (the pseudo-inputs of Snelson and Ghahramani, 2005).

    All observations speak, through the values at the landmarks, the less the worse those tell
    theirs. The mean, `weights` times the
    covariances with them, uses all landmarks; the doubt uses the first of them, one for each row
    of `shrink`, which can only make it larger.
    """

    kernel: Kernel
    landmarks: Array
    weights: Array
    shrink: Array
    whitening: Array

    @classmethod
    def restore(cls, kernel: Kernel, landmarks: Array, weights: Array, shrink: Array) -> Self:
        """Rebuild a posterior from its stored parts."""
        return cls(
            kernel=kernel,
            landmarks=landmarks,
            weights=weights,
            shrink=shrink,
            whitening=_whitening(kernel, landmarks[: len(shrink)]),
        )

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation at each row of `points`."""
        covariances = self.kernel(points, self.landmarks)
        seen = covariances[:, : len(self.shrink)] @ self.whitening.T
        left = seen @ self.shrink.T
        known = np.einsum("ij,ij->i", seen, seen) - np.einsum("ij,ij->i", left, left)
        doubt = np.sqrt(np.maximum(self.kernel.variances(points) - known, 0))
        return covariances @ self.weights, doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was seen at `points`: target = scale * value + shift of its source + noise.

    `scales` and `noises` hold one number a row; `is_shifted` marks the rows of the source whose
    shift is unknown.
    """

    points: Array
    targets: Array
    scales: Array
    noises: Array
    is_shifted: NDArray[np.bool_]


def posterior(
    kernel: Kernel, landmarks: Array, n_doubt: int, seen: Observations
) -> GaussianProcess:
    """Condition the process on observations; the doubt uses the first `n_doubt` landmarks."""
    weights, _ = _project(kernel, landmarks, seen)
    _, shrink = _project(kernel, landmarks[:n_doubt], seen)
    return GaussianProcess.restore(kernel, landmarks, weights, shrink)


def _project(kernel: Kernel, landmarks: Array, seen: Observations) -> tuple[Array, Array]:
    """Return the weights of the landmarks, and the root of the variance left once whitened."""
    whitening = _whitening(kernel, landmarks)
    values = kernel(seen.points, landmarks) @ whitening.T
    unexplained = kernel.variances(seen.points) - np.einsum("ij,ij->i", values, values)
    noises = np.sqrt(seen.noises**2 + seen.scales**2 * np.maximum(unexplained, 0))
    # The unknown shift comes first: what is left of the rest is then the inverse's last block.
    rows = np.column_stack([OFFSET_STD * seen.is_shifted, seen.scales[:, None] * values])
    rows /= noises[:, None]
    inverse = np.linalg.inv(np.linalg.cholesky(np.eye(rows.shape[1]) + rows.T @ rows))
    weights = inverse.T @ (inverse @ (rows.T @ (seen.targets / noises)))
    return whitening.T @ weights[1:], np.tril(inverse[1:, 1:])


def _whitening(kernel: Kernel, landmarks: Array) -> Array:
    """Return the matrix that maps covariances with the landmarks to unit variance."""
    jitter = _JITTER * kernel.amplitude**2 * np.eye(len(landmarks))
    return np.linalg.inv(np.linalg.cholesky(kernel(landmarks, landmarks) + jitter))
