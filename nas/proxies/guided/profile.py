"""The columns that the regression sees: each network's stages, in units of the networks around."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nas.arch import Arch
from nas.proxies.features import Array
from nas.proxies.guided.stages import (
    STAGE_PROPERTIES,
    WHOLE_PROPERTIES,
    Stage,
    describe,
    distance,
    stages_of,
)

PROPERTIES = (*STAGE_PROPERTIES, *WHOLE_PROPERTIES, "capacity")

_SHARED = 0.2
"""Share of a property's effect that all stages are expected to have in common."""
_REACH = 0.5
"""How far the rest of it stays alike along the network, as a share of its length."""
_LEAST_SPREAD = 0.25
"""In natural units: what hardly varies among the networks around still counts when it is met."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The stages and the units of a set of networks.

    `roots[p]` (stages, stages) mixes the stages' values of property p so that products of rows are
    the covariances of its effects: alike in stages that are near each other.
    """

    stages: tuple[Stage, ...]
    center: Array
    whole_center: Array
    whole_scale: Array
    roots: Array

    @classmethod
    def of(cls, archs: Sequence[Arch]) -> Self:
        """Return the profile of networks that are like those to be predicted."""
        stages = stages_of(archs)
        values, whole = describe(archs, stages)
        whole = _with_capacity(values, whole)
        spread = values.std(axis=0)
        n_varying = np.maximum((spread > 0).sum(axis=1), 1)
        scale = np.maximum(np.sqrt((spread**2).sum(axis=1) / n_varying), _LEAST_SPREAD)
        root = np.linalg.cholesky(_likeness(stages))
        return cls(
            stages=stages,
            center=values.mean(axis=0),
            whole_center=whole.mean(axis=0),
            whole_scale=np.maximum(whole.std(axis=0), _LEAST_SPREAD),
            roots=root / (scale * np.sqrt(n_varying))[:, None, None],
        )

    def __call__(self, archs: Sequence[Arch]) -> list[Array]:
        """Return for each of `PROPERTIES` its columns (networks, columns)."""
        values, whole = describe(archs, self.stages)
        whole = _with_capacity(values, whole)
        mixed: Array = np.einsum("nps,pst->pnt", values - self.center, self.roots)
        scaled = (whole - self.whole_center) / self.whole_scale
        return [*mixed, *scaled.T[:, :, None]]


def _likeness(stages: tuple[Stage, ...]) -> Array:
    """Return how alike a property's effects are expected to be in each two stages."""
    apart = np.array([[distance(one, other) for other in stages] for one in stages])
    alike: Array = _SHARED + (1 - _SHARED) * np.exp(-apart / (_REACH * max(apart.max(), 1.0)))
    return alike


def _with_capacity(values: Array, whole: Array) -> Array:
    """Append what a network can be expected to hold, in octaves.

    Its parameters; those that an image has passed at each stage, as what is lost early stays lost;
    and the expansion, as the stages work in series and the narrowest limits all. Of the last two
    the mean over the stages.
    """
    by_name = dict(zip(STAGE_PROPERTIES, values.transpose(1, 0, 2), strict=True))
    is_there = by_name["depth"] > 0
    weights = is_there / np.maximum(is_there.sum(axis=1, keepdims=True), 1)
    in_series = weights * (by_name["trunk"] + by_name["expansion"])
    return np.column_stack([whole, whole[:, 0] + in_series.sum(axis=1)])
