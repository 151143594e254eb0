"""Find the numbers of the covariance under which the trained networks were likeliest."""

from collections.abc import Sequence

import numpy as np

from nas.proxies.features import Array
from nas.proxies.guided.covariance import LEVEL_VARIANCE, Covariance

_PRIOR_STD = 0.5
"""Of the log of each number: a factor of 1.6 in a variance is nothing unusual."""
_N_STEPS = 40
_ENOUGH = 1e-3
"""Change of the logs below which the search ends."""


def tune(parts: Sequence[Array], targets: Array, expected: Covariance) -> Covariance:
    """Return the numbers of greatest posterior probability, close to the `expected` ones.

    `parts` are the columns of each property (networks, columns), `targets` accuracies of mean 0 and
    standard deviation 1. Steps by Fisher's scoring, damped where they lead uphill.
    """
    posterior = _Posterior(parts, targets, expected)
    logs, damping = expected.logs(), 1.0
    value, gradient, information = posterior.at(logs)
    for _ in range(_N_STEPS):
        damped = information + (damping - 1) * np.diag(np.diag(information))
        step = np.clip(-np.linalg.solve(damped, gradient), -1, 1)
        found = posterior.at(logs + step)
        if found[0] > value:
            damping *= 4
            continue
        logs, damping = logs + step, max(1.0, damping / 4)
        value, gradient, information = found
        if np.abs(step).max() < _ENOUGH:
            break
    return Covariance.of_logs(logs)


class _Posterior:
    """The posterior probability of the numbers' logs."""

    def __init__(self, parts: Sequence[Array], targets: Array, expected: Covariance) -> None:
        self._straight = np.stack([part @ part.T for part in parts])
        squares = np.einsum("pii->pi", self._straight)
        self._distances = 0.5 * (squares[:, :, None] + squares[:, None, :]) - self._straight
        self._targets = targets
        self._expected = expected.logs()

    def at(self, logs: Array) -> tuple[float, Array, Array]:
        """Return minus its log, the gradient of that, and the expected curvature."""
        numbers = Covariance.of_logs(logs)
        distance = np.tensordot(numbers.effects, self._distances, 1)
        bend = numbers.bend * np.exp(-numbers.curvature * distance)
        noise = numbers.noise * np.eye(len(bend))
        straight = np.tensordot(numbers.effects, self._straight, 1)
        inverse = np.linalg.inv(np.linalg.cholesky(LEVEL_VARIANCE + straight + bend + noise))
        by_effect = self._straight - numbers.curvature * bend * self._distances
        slopes = np.concatenate(
            [
                numbers.effects[:, None, None] * by_effect,
                np.stack([bend, -numbers.curvature * distance * bend, noise]),
            ]
        )
        # By each log: the derivative of the covariance, whitened.
        whitened = inverse @ slopes @ inverse.T
        seen = inverse @ self._targets
        off = (logs - self._expected) / _PRIOR_STD
        value = 0.5 * (seen @ seen + off @ off) - np.log(np.diag(inverse)).sum()
        gradient = 0.5 * (np.einsum("pii->p", whitened) - (whitened @ seen) @ seen)
        flat = whitened.reshape(len(logs), -1)
        information = 0.5 * flat @ flat.T + np.eye(len(logs)) / _PRIOR_STD**2
        return float(value), gradient + off / _PRIOR_STD, information
