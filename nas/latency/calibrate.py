"""Correct the rows of a table by whole networks.

A layer timed alone finds its weights in the cache and pays for moving images in and out of the
runtime's own layout; inside a network it is the other way round. So a network's ms is modelled as
the sum over its layers l of

    isolated_l + scale isolated_l + boundary rate B_l + weights rate W_l + deviation_l

where B_l counts the activations that cross the layer's borders, W_l its weights, and rate turns
counts into ms (the isolated ms of all layers over their count, so that the coefficients are plain
numbers). A chain of a few layers runs from the cache like a layer alone, but spares the borders
inside: it tells what a border costs. Coefficients and deviations have normal priors around 0:
regularised least squares with the isolated times as the prior, which is Bayesian linear regression.
Its two widths, of the deviations and of the measurement's noise, maximise the marginal likelihood
(Bishop, Pattern Recognition and Machine Learning, 2006, sections 3.3 and 3.5).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.latency.correction import Correction, layer_counts, outer_boundary
from nas.latency.subjects import Subject

DEVIATIONS = (0.003, 0.01, 0.02, 0.04, 0.08, 0.16)
NOISES = (0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05)
# No coefficient was above 0.3 on the machines at hand; a table scaled by 2 would be another device.
COEFFICIENT_STD = 0.3
# A row never falls below this share of its isolated time, however its networks came out.
LEAST_SHARE = 0.25

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """A layer timed alone: ms, and the standard deviation of that figure."""

    ms: float
    std_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A chain or a whole network, and its measured ms."""

    subject: Subject
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The calibrated ms and its standard deviation of each layer, and the correction found."""

    ms: Mapping[Layer, float]
    std_ms: Mapping[Layer, float]
    correction: Correction


def calibrate(
    isolated: Mapping[Layer, Isolated],
    probes: Sequence[Timed],
    fixed: Collection[Layer] = (),
) -> Calibrated:
    """Return the rows that agree best with chains and networks, given their isolated times.

    Every layer of every probe must be in `isolated`; layers that no probe holds get the
    correction without a deviation. Those `fixed` were calibrated before: they get no correction,
    and move within their standard deviation only.
    """
    layers = list(isolated)
    model = _Model.of(layers, isolated, probes, fixed)
    widths = product(DEVIATIONS, NOISES)
    deviation, noise = max(widths, key=lambda pair: model.log_likelihood(*pair))
    ms, std_ms, coefficients = model.posterior(deviation, noise)
    least = LEAST_SHARE * model.isolated
    correction = Correction(
        scale=float(coefficients[0]),
        boundary_ms=float(coefficients[1] * model.rates[0]),
        weights_ms=float(coefficients[2] * model.rates[1]),
        deviation=deviation,
    )
    return Calibrated(
        ms=dict(zip(layers, np.maximum(ms, least).tolist(), strict=True)),
        std_ms=dict(zip(layers, std_ms.tolist(), strict=True)),
        correction=correction,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Probes in rows, each divided by its ms, so that one noise holds for all of them.

    `features` are what the coefficients stand for: of layers and, as `seen`, of probes. `shares`
    are the layers that each probe holds, and `deviating` those that deviate in it: in a chain,
    none, as its layers run like layers alone.
    """

    isolated: Array
    is_free: Array
    errors: Array
    rates: Array
    features: Array
    seen: Array
    shares: Array
    deviating: Array
    residuals: Array

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        isolated: Mapping[Layer, Isolated],
        probes: Sequence[Timed],
        fixed: Collection[Layer],
    ) -> "_Model":
        ms = np.array([isolated[layer].ms for layer in layers])
        is_free = np.array([layer not in fixed for layer in layers], dtype=np.float64)
        counts = np.array([layer_counts(layer) for layer in layers])
        rates = ms.sum() / counts.sum(axis=0)
        features = np.column_stack([ms, counts * rates]) * is_free[:, None]
        numbers = {layer: number for number, layer in enumerate(layers)}
        holds = np.zeros((len(probes), len(layers)))
        seen = np.zeros((len(probes), features.shape[1]))
        for row, probe in enumerate(probes):
            its_layers = probe.subject.layers
            for layer in its_layers:
                holds[row, numbers[layer]] += 1
            seen[row] = features[[numbers[layer] for layer in its_layers]].sum(axis=0)
            if not probe.subject.is_network:
                inner = seen[row, 1] - rates[0] * outer_boundary(its_layers)
                seen[row] = (0, inner, 0)
        measured = np.array([probe.ms for probe in probes])[:, None]
        is_network = np.array([probe.subject.is_network for probe in probes])[:, None]
        return cls(
            isolated=ms,
            is_free=is_free,
            errors=np.array([isolated[layer].std_ms for layer in layers]),
            rates=rates,
            features=features,
            seen=seen / measured,
            shares=holds / measured,
            deviating=holds / measured * is_network,
            residuals=1 - (holds / measured) @ ms,
        )

    def log_likelihood(self, deviation: float, noise: float) -> float:
        """Return the log marginal likelihood of the probes, less a constant."""
        covariance = self._covariance(deviation, noise)
        _, log_determinant = np.linalg.slogdet(covariance)
        fit = self.residuals @ np.linalg.solve(covariance, self.residuals)
        return float(-0.5 * (fit + log_determinant))

    def posterior(self, deviation: float, noise: float) -> tuple[Array, Array, Array]:
        """Return ms and standard deviation of every layer, and the coefficients."""
        covariance = self._covariance(deviation, noise)
        errors, deviations = self.errors**2, self._deviations(deviation)
        by_features = COEFFICIENT_STD**2 * self.seen.T
        gains = self.features @ by_features
        gains += errors[:, None] * self.shares.T + deviations[:, None] * self.deviating.T
        weights = np.linalg.solve(covariance, self.residuals)
        prior = COEFFICIENT_STD**2 * (self.features**2).sum(axis=1) + errors + deviations
        known = np.einsum("ij,ji->i", gains, np.linalg.solve(covariance, gains.T))
        std_ms = np.sqrt(np.maximum(prior - known, 0))
        return self.isolated + gains @ weights, std_ms, by_features @ weights

    def _covariance(self, deviation: float, noise: float) -> Array:
        by_features = COEFFICIENT_STD**2 * self.seen @ self.seen.T
        by_errors = self.shares * self.errors**2 @ self.shares.T
        by_deviations = self.deviating * self._deviations(deviation) @ self.deviating.T
        by_noise = noise**2 * np.eye(len(self.shares))
        return np.asarray(by_features + by_errors + by_deviations + by_noise)

    def _deviations(self, deviation: float) -> Array:
        return np.asarray((deviation * self.isolated * self.is_free) ** 2)
