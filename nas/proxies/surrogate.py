"""Predict the ImageNet top-1 of a fully trained network at once, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from nas.arch import Arch
from nas.proxies.features import FEATURE_NAMES, Array, features_of
from nas.proxies.gaussian_process import GaussianProcess
from nas.proxies.surrogate_file import Content, read_surrogate, write_surrogate

SHIPPED = Path(__file__).with_name("imagenet_surrogate.json")
EXCESS_DOUBT = 1.0
"""Percent top-1 by which the doubt grows for each scale that a feature is out of range."""

_ERROR_UNIT = 30.0
_TOLERANCE = 1e-6


def log_error(top1: Array) -> Array:
    """Map percent top-1 to minus the log of the error; one unit is one percent at 70 %."""
    return np.asarray(-_ERROR_UNIT * np.log((100 - top1) / _ERROR_UNIT))


def top1_of(value: Array) -> Array:
    """Invert `log_error`."""
    return np.asarray(100 - _ERROR_UNIT * np.exp(-value / _ERROR_UNIT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The features' units, and the range in which the surrogate was fitted."""

    center: Array
    scale: Array
    lower: Array
    upper: Array

    def standardised(self, features: Array) -> Array:
        """Return the features from their center in units of `scale`."""
        return np.asarray((features - self.center) / self.scale)

    def clipped(self, features: Array) -> Array:
        """Return the same for the nearest features inside the range."""
        return self.standardised(np.clip(features, self.lower, self.upper))

    def excess(self, features: Array) -> Array:
        """Return how far out of the range each feature lies, in units of `scale`."""
        excess = np.abs(features - np.clip(features, self.lower, self.upper)) / self.scale
        return np.where(excess > _TOLERANCE, excess, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A Gaussian process on the named features of networks inside the fitted range.

    Outside of it the mean is the lesser of the border's and of the trend's, and the doubt grows by
    `EXCESS_DOUBT`: who maximises the mean less some doubt loses by leaving. `doubt_factor` widens
    the standard deviation to the errors seen on families that were left out of the fit.
    """

    scaling: Scaling
    process: GaussianProcess
    doubt_factor: float
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        """Return the top-1 in percent and its standard deviation for each network."""
        return self.predict_features(features_of(archs))

    def predict_features(self, features: Array) -> tuple[Array, Array]:
        """Return the same for rows of `FEATURE_NAMES`."""
        excess = self.scaling.excess(features).sum(axis=1)
        value, doubt = self.process.predict(self.scaling.clipped(features))
        out = excess > 0
        if out.any():
            trend, _ = self.process.predict(self.scaling.standardised(features[out]))
            value[out] = np.minimum(value[out], trend)
        mean = top1_of(value)
        percent_a_unit = (100 - mean) / _ERROR_UNIT
        return mean, np.hypot(self.doubt_factor * doubt * percent_a_unit, EXCESS_DOUBT * excess)

    def range_violations(self, arch: Arch) -> list[str]:
        """Return the names of the features that lie outside of the range fitted on."""
        excess = self.scaling.excess(features_of([arch]))[0]
        return [name for name, out in zip(FEATURE_NAMES, excess, strict=True) if out > 0]

    @classmethod
    def load(cls, path: str | Path = SHIPPED) -> Self:
        """Read a fitted file, by default the one that is shipped.

        Raises:
            NasError: the file is missing, truncated, of another version or holds no numbers.
        """
        content = read_surrogate(Path(path))
        return cls(
            scaling=Scaling(**{name: content.columns[name] for name in Scaling.__slots__}),
            process=content.process,
            doubt_factor=content.doubt_factor,
            provenance=content.provenance,
        )

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads."""
        content = Content(
            columns={name: getattr(self.scaling, name) for name in Scaling.__slots__},
            process=self.process,
            doubt_factor=self.doubt_factor,
            provenance=self.provenance,
        )
        write_surrogate(Path(path), content)
