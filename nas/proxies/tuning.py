"""Choose the kernel's numbers: those under which the observations were likeliest."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import fmin_l_bfgs_b

from nas.proxies.features import Array
from nas.proxies.gaussian_process import OFFSET_STD, Kernel, Observations

N_ROWS = 800
"""Short-trained networks that the numbers are tuned on; more change them little."""
N_STEPS = 80

_LENGTH_PRIOR = -1.5
"""Expected log of slopes and inverse lengths: a feature matters little until data say so."""
_SCALAR_PRIORS = (1.0, -1.2, -0.7, 0.0)
_REACH = 5.0
"""How far from its expected value a log may go: beyond, the covariance is singular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A kernel, and how the two trainings differ: noise of each, and the short one's scale."""

    kernel: Kernel
    short_noise: float
    full_noise: float
    short_scale: float

    @classmethod
    def from_logs(cls, logs: Array) -> Self:
        """Read the vector that the optimiser moves."""
        values = np.exp(logs)
        n_features = (len(logs) - len(_SCALAR_PRIORS)) // 2
        amplitude, short_noise, full_noise, short_scale = map(float, values[2 * n_features :])
        kernel = Kernel(
            inverse_lengths=values[:n_features],
            slopes=values[n_features : 2 * n_features],
            amplitude=amplitude,
        )
        return cls(
            kernel=kernel,
            short_noise=short_noise,
            full_noise=full_noise,
            short_scale=short_scale,
        )

    def observations(self, points: Array, targets: Array, is_short: Any) -> Observations:
        """Attach noise, scale and shift to each row by the training that it had."""
        return Observations(
            points=points,
            targets=targets,
            scales=np.where(is_short, self.short_scale, 1.0),
            noises=np.where(is_short, self.short_noise, self.full_noise),
            is_shifted=is_short,
        )


def tune(points: Array, targets: Array, is_short: Any, seed: int = 0) -> Tuned:
    """Return the numbers of greatest posterior probability on all full and some short rows."""
    rows = _subset(is_short, seed)
    points, targets, is_short = points[rows], targets[rows], is_short[rows]
    n_features = points.shape[1]
    start = np.concatenate([np.full(2 * n_features, _LENGTH_PRIOR), _SCALAR_PRIORS])

    def objective(logs: Array) -> tuple[float, Array]:
        value, gradient = _misfit(Tuned.from_logs(logs), points, targets, is_short)
        off = logs - start
        return value + 0.5 * float(off @ off), gradient + off

    bounds = [(log - _REACH, log + _REACH) for log in start]
    found, _, _ = fmin_l_bfgs_b(objective, start, bounds=bounds, maxiter=N_STEPS)
    tuned = Tuned.from_logs(found)
    return replace(tuned, kernel=_without_constants(tuned.kernel, points))


def _without_constants(kernel: Kernel, points: Array) -> Kernel:
    """Return the kernel deaf to features that never varied: only the range speaks for them."""
    varies = np.ptp(points, axis=0) > 0
    return replace(
        kernel,
        slopes=kernel.slopes * varies,
        inverse_lengths=kernel.inverse_lengths * varies,
    )


def _subset(is_short: Any, seed: int) -> Any:
    short = np.flatnonzero(is_short)
    kept = np.random.default_rng(seed).permutation(short)[:N_ROWS]
    return np.concatenate([np.flatnonzero(~is_short), kept])


def _misfit(tuned: Tuned, points: Array, targets: Array, is_short: Any) -> tuple[float, Array]:
    """Return the negative log likelihood and its gradient by the log of each number."""
    kernel, seen = tuned.kernel, tuned.observations(points, targets, is_short)
    scales = np.outer(seen.scales, seen.scales)
    near = kernel.bump(points, points)
    bump = scales * near
    signal = scales * (kernel.trend(points, points) + near)
    shift = OFFSET_STD**2 * np.outer(is_short, is_short)
    factor = cho_factor(signal + shift + np.diag(seen.noises**2), lower=True)
    solved = cho_solve(factor, targets)
    value = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum()
    # Derivative by the covariance; each number's own follows by the chain rule.
    slope = 0.5 * (cho_solve(factor, np.eye(len(targets))) - np.outer(solved, solved))
    by_bump, by_line = slope * bump, slope * scales
    lengths = -(kernel.inverse_lengths**2) * 2 * _spread(by_bump, points)
    slopes = 2 * kernel.slopes**2 * np.einsum("id,ij,jd->d", points, by_line, points, optimize=True)
    noise = 2 * np.diag(slope) * seen.noises**2
    by_scale = (slope * signal).sum(axis=1) * is_short * 2
    scalars = (2 * by_bump.sum(), noise[is_short].sum(), noise[~is_short].sum(), by_scale.sum())
    return float(value), np.concatenate([lengths, slopes, scalars])


def _spread(weights: Array, points: Array) -> Array:
    """Return, a feature, half the sum of weight times squared difference over all pairs."""
    squares = weights.sum(axis=1) @ points**2
    return np.asarray(squares - np.einsum("id,id->d", points, weights @ points))
