"""Fit the accuracy surrogate, and measure it on networks that it was not fitted on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from nas.proxies.accuracy_data import Samples
from nas.proxies.features import Array, features_of
from nas.proxies.gaussian_process import posterior
from nas.proxies.surrogate import Scaling, Surrogate, expected_gain, log_error
from nas.proxies.tuning import tune

N_LANDMARKS = 1000
N_DOUBT_LANDMARKS = 256
N_FOLDS = 5
FAMILIES = ("MobileNetV1", "MobileNetV2", "MnasNet-A1", "MobileNetV3")
"""The families with enough published networks to leave one out and rank them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Predictions beside the truth for networks that were left out of the fit."""

    predicted: Array
    doubt: Array
    truth: Array

    @classmethod
    def joined(cls, parts: Sequence["Errors"]) -> "Errors":
        """Return the errors of all parts together."""
        names = ("predicted", "doubt", "truth")
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )

    @property
    def tau(self) -> float:
        """Return Kendall's rank correlation."""
        return float(kendalltau(self.predicted, self.truth).statistic)

    @property
    def spearman(self) -> float:
        """Return Spearman's rank correlation."""
        return float(spearmanr(self.predicted, self.truth).statistic)

    @property
    def bias(self) -> float:
        """Return the mean of prediction minus truth, in percent top-1."""
        return float(np.mean(self.predicted - self.truth))

    @property
    def rms(self) -> float:
        """Return the root mean square error, in percent top-1."""
        return float(np.sqrt(np.mean((self.predicted - self.truth) ** 2)))

    @property
    def rms_in_doubts(self) -> float:
        """Return the root mean square of error over predicted standard deviation."""
        return float(np.sqrt(np.mean(((self.predicted - self.truth) / self.doubt) ** 2)))


class SurrogateFit:
    """Samples with their features, so that many subsets can be fitted."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.features = features_of(samples.archs)

    def fit(
        self,
        kept: Any = None,
        doubt_factor: float = 1.0,
        provenance: Mapping[str, Any] | None = None,
    ) -> Surrogate:
        """Return the surrogate of the samples in the mask `kept`, by default all."""
        mask = np.ones(len(self.samples), dtype=bool) if kept is None else kept
        features, is_short = self.features[mask], self.samples.is_short[mask]
        targets = log_error(self.samples.top1[mask]) - expected_gain(features)
        scaling = _scaling(features, is_short)
        points = scaling.standardised(features)
        tuned = tune(points, targets, is_short)
        landmarks = points[_landmarks(is_short)]
        seen = tuned.observations(points, targets, is_short)
        return Surrogate(
            scaling=scaling,
            process=posterior(tuned.kernel, landmarks, N_DOUBT_LANDMARKS, seen),
            doubt_factor=doubt_factor,
            provenance=provenance or {},
        )

    def without(self, left_out: Any) -> Errors:
        """Fit on the samples outside of a mask and predict those inside."""
        predicted, doubt = self.fit(~left_out).predict_features(self.features[left_out])
        return Errors(predicted=predicted, doubt=doubt, truth=self.samples.top1[left_out])

    def leave_families_out(self) -> dict[str, Errors]:
        """Return the errors on each published family, fitted without any network of it."""
        return {name: self.without(self.samples.families == name) for name in FAMILIES}

    def cross_validate(self) -> Iterator[Errors]:
        """Yield the errors on each fold of the short-trained networks.

        The prediction is of full training, so that only its order can be compared.
        """
        order = np.random.default_rng(0).permutation(np.flatnonzero(self.samples.is_short))
        for fold in range(N_FOLDS):
            left_out = np.zeros(len(self.samples), dtype=bool)
            left_out[order[fold::N_FOLDS]] = True
            yield self.without(left_out)


def _landmarks(is_short: Any) -> Any:
    """Return the rows of all published networks, then random short-trained ones."""
    short = np.random.default_rng(0).permutation(np.flatnonzero(is_short))
    return np.concatenate([np.flatnonzero(~is_short), short])[:N_LANDMARKS]


def _scaling(features: Array, is_short: Any) -> Scaling:
    """Return units in which the published networks count as much as the many short-trained."""
    groups = [group for group in (features[is_short], features[~is_short]) if len(group)]
    center = np.mean([group.mean(axis=0) for group in groups], axis=0)
    spread = np.mean([((group - center) ** 2).mean(axis=0) for group in groups], axis=0)
    return Scaling(
        center=center,
        scale=np.where(spread > 0, np.sqrt(spread), 1.0),
        lower=features.min(axis=0),
        upper=features.max(axis=0),
    )
