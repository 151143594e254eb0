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

SHIPPED = {"imagenet": Path(__file__).with_name("imagenet_surrogate.json")}
LEAVING_DOUBT = 1.0
EXCESS_DOUBT = 10.0
"""Percent top-1 by which the doubt grows for a feature out of range, at once and a scale further.

More than the other features can gain by pushing one of them out: about 4 % an octave of MAdds.
"""
HSWISH_GAIN = 0.9
"""Percent top-1 that h-swish everywhere is expected to bring before any data speak.

Swish for ReLU brought 0.9 on Mobile NASNet-A (arXiv:1710.05941, abstract).
"""

_ERROR_UNIT = 30.0
_LEAST = -100.0
"""Of the process's own value: as good as no percent at all."""
_TOLERANCE = 1e-6


def log_error(top1: Array) -> Array:
    """Map percent top-1 to minus the log of the error; one unit is one percent at 70 %."""
    return np.asarray(-_ERROR_UNIT * np.log((100 - top1) / _ERROR_UNIT))


def top1_of(value: Array) -> Array:
    """Invert `log_error`."""
    return np.asarray(100 - _ERROR_UNIT * np.exp(-value / _ERROR_UNIT))


def expected_gain(features: Array) -> Array:
    """Return the part of `log_error` that is known without data, for rows of `FEATURE_NAMES`."""
    return np.asarray(HSWISH_GAIN * features[:, FEATURE_NAMES.index("hswish_share")])


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

    Outside of it the mean is the lesser of the border's and of the trend's, and the doubt grows
    (`LEAVING_DOUBT`, `EXCESS_DOUBT`): who maximises the mean less some doubt loses by leaving.
    `doubt_factor` widens the process's standard deviation to the errors on that family of networks
    which, left out of the fit, was predicted worst for its doubt.
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
        excess = self.scaling.excess(features)
        outside = (LEAVING_DOUBT * (excess > 0) + EXCESS_DOUBT * excess).sum(axis=1)
        value, doubt = self.process.predict(self.scaling.clipped(features))
        out = outside > 0
        if out.any():
            trend, _ = self.process.predict(self.scaling.standardised(features[out]))
            value[out] = np.minimum(value[out], trend)
        mean = np.maximum(top1_of(np.maximum(value, _LEAST) + expected_gain(features)), 0)
        percent_a_unit = (100 - mean) / _ERROR_UNIT
        return mean, self.doubt_factor * doubt * percent_a_unit + outside

    def range_violations(self, arch: Arch) -> list[str]:
        """Return the names of the features that lie outside of the range fitted on."""
        excess = self.scaling.excess(features_of([arch]))[0]
        return [name for name, out in zip(FEATURE_NAMES, excess, strict=True) if out > 0]

    @classmethod
    def load(cls, name_or_path: str | Path = "imagenet") -> Self:
        """Read a fitted file: `imagenet`, the one that is shipped, or a path.

        Raises:
            NasError: the file is missing, truncated, of another version, or holds no numbers.
        """
        content = read_surrogate(SHIPPED.get(str(name_or_path), Path(name_or_path)))
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
