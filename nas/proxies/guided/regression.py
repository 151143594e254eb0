"""Predict the accuracy of all networks of a space from the few that were trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nas.arch import Arch
from nas.errors import NasError
from nas.proxies.features import Array
from nas.proxies.guided.covariance import Covariance
from nas.proxies.guided.profile import PROPERTIES, Profile
from nas.proxies.guided.tuning import tune

LEAST_LABELS = 3
_NO_ERRORS = 101.0
"""The logarithm of the errors plus one percent is predicted: a share of many errors counts like the
same share of fewer, and below a percent, where a handful of images decides, it is the step."""
_MOST_NOISE = 0.8
"""Share of the accuracies' standard deviation that chance is taken for at most, beforehand."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GuidedRegression:
    """A Gaussian process on what networks are, stage by stage, fitted to trained ones.

    What it expects (see `Profile`, `Covariance`): that accuracy goes with what a network can hold,
    along with smaller effects of each property that change slowly from stage to stage, and bends of
    it all. How strong each of these is, and how much is noise, the trained networks alone decide.
    """

    profile: Profile
    covariance: Covariance
    center: float
    scale: float
    n_scores: int
    _score_units: Array
    _rows: Array
    _weights: Array
    _inverse_root: Array

    @classmethod
    def fit(
        cls,
        archs: Sequence[Arch],
        top1: Array,
        *,
        scores: Array | None = None,
        noise_std: float | None = None,
        around: Sequence[Arch] = (),
    ) -> Self:
        """Learn from trained networks; equal input gives an equal regression.

        Args:
            archs: at least `LEAST_LABELS` trained networks.
            top1: what they reached, in percent (networks,).
            scores: further features of each network (networks, scores), as logarithms.
            noise_std: expected standard deviation between trainings of one network, in percent;
                None: a fifth of the accuracies' own.
            around: other networks of the kind to be predicted; their stages and units count.

        Raises:
            NasError: too few labels, or numbers that are no percentages.
        """
        top1 = _checked(archs, top1)
        errors = _NO_ERRORS - top1
        profile = Profile.of([*archs, *around])
        values = -np.log(errors)
        center, scale = float(values.mean()), float(values.std()) or 1.0
        targets = (values - center) / scale
        units = _score_units(scores, len(archs))
        parts = [*_scaled(scores, units), *profile(archs)]
        noise = None
        if noise_std:
            noise = float(np.clip(np.mean(noise_std / errors) / scale, 0.01, _MOST_NOISE))
        covariance = tune(parts, targets, Covariance.expected(len(parts), noise))
        rows = covariance.rows(parts)
        inverse = np.asarray(np.linalg.inv(covariance.root(rows)), dtype=np.float64)
        return cls(
            profile=profile,
            covariance=covariance,
            center=center,
            scale=scale,
            n_scores=len(parts) - len(PROPERTIES),
            _score_units=units,
            _rows=rows,
            _weights=inverse.T @ (inverse @ targets),
            _inverse_root=inverse,
        )

    def predict(self, archs: Sequence[Arch], scores: Array | None = None) -> tuple[Array, Array]:
        """Return the top-1 that a training of each network would reach, and its deviation.

        Both in percent (networks,); the deviation holds what is not known of the network and the
        noise of one training. `scores` are needed where `fit` had them.

        Raises:
            NasError: scores are missing, or not wanted.
        """
        if not archs:
            return np.zeros(0), np.zeros(0)
        rows = self.rows(archs, scores)
        told = self.covariance.between(rows, self._rows)
        whitened = told @ self._inverse_root.T
        left = self.covariance.variances(rows) - np.einsum("ij,ij->i", whitened, whitened)
        std = self.scale * np.sqrt(np.maximum(left, 0) + self.covariance.noise)
        mean = self._percent(told @ self._weights)
        return mean, std * (_NO_ERRORS - mean)

    def draw(
        self, archs: Sequence[Arch], n: int, rng: np.random.Generator, scores: Array | None = None
    ) -> Array:
        """Return n draws (n, networks) of what the networks' top-1 may be, without noise."""
        rows = self.rows(archs, scores)
        told = self.covariance.between(rows, self._rows)
        whitened = told @ self._inverse_root.T
        left = self.covariance.between(rows, rows) - whitened @ whitened.T
        # The eigenvalues of networks that are nearly alike may come out below 0.
        variances, axes = np.linalg.eigh(left)
        normal = rng.standard_normal((n, len(archs))) * np.sqrt(np.maximum(variances, 0))
        return self._percent(told @ self._weights + normal @ axes.T)

    def rows(self, archs: Sequence[Arch], scores: Array | None = None) -> Array:
        """Return what the covariance takes for each network.

        Raises:
            NasError: scores are missing, or not wanted.
        """
        n_scores = 0 if scores is None else scores.shape[1]
        if n_scores != self.n_scores:
            raise NasError(
                f"the regression was fitted with {self.n_scores} scores a network, but is asked "
                f"with {n_scores}. Give the same ones."
            )
        return self.covariance.rows([*_scaled(scores, self._score_units), *self.profile(archs)])

    def _percent(self, values: Array) -> Array:
        return np.clip(_NO_ERRORS - np.exp(-(self.center + self.scale * values)), 0, 100)


def _checked(archs: Sequence[Arch], top1: Array) -> Array:
    values = np.asarray(top1, dtype=np.float64)
    if values.shape != (len(archs),) or len(archs) < LEAST_LABELS:
        raise NasError(
            f"a regression needs {LEAST_LABELS} trained networks or more, each with one top-1, but "
            f"got {len(archs)} networks and {values.size} numbers. Train more: raise proxy.n_train."
        )
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 100):
        raise NasError(
            "top-1 must be percentages from 0 to 100, but some are not. Leave out the networks "
            "whose training failed."
        )
    return values


def _score_units(scores: Array | None, n: int) -> Array:
    """Return center and scale of each score (2, scores)."""
    if scores is None:
        return np.zeros((2, 0))
    if scores.shape[:1] != (n,) or scores.ndim != 2 or not np.isfinite(scores).all():
        raise NasError(
            f"scores must be finite numbers, a row for each of {n} networks, but have the shape "
            f"{scores.shape}. Leave out the networks without."
        )
    std = scores.std(axis=0)
    return np.stack([scores.mean(axis=0), np.where(std > 0, std, 1.0)])


def _scaled(scores: Array | None, units: Array) -> list[Array]:
    return [] if scores is None else list(((scores - units[0]) / units[1]).T[:, :, None])
