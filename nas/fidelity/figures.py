"""The figures of a judgement: rank agreement of several scores on the same networks, paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import nan
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.fidelity.rank_agreement import (
    STATISTICS,
    Array,
    Estimate,
    kendall,
    reachable_tau,
)

FEW = 10
"""Networks below which an order is hardly one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a proxy said of each network, and what that took.

    `values` (n_splits, n) rank the networks, the greater the better; NaN: none. A proxy that learns
    from some of the networks is asked about the others, once for each split; every other one has a
    single row. `seconds` are those of one network, `prepared_s` those of preparing or learning
    once, `n_labels` is how many networks were learned from. `reasons` says by `Arch.key()` why a
    network that was asked about has no figure.
    """

    name: str
    values: Array
    seconds: float
    prepared_s: float = 0.0
    n_labels: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean_values(self) -> Array:
        """Return each network's mean over the splits that asked about it; NaN: none did."""
        is_known = np.isfinite(self.values)
        n_known = is_known.sum(axis=0)
        total = np.where(is_known, self.values, 0).sum(axis=0)
        return np.where(n_known > 0, total / np.maximum(n_known, 1), nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The statistics of one score, or of the difference between two, by their names."""

    name: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatability:
    """How alike two trainings of the same networks order them.

    `tau` is Kendall's between trainings, `reachable` what knowing each network's expected accuracy
    would reach against their mean. `training_std` and `network_std` are in percent top-1: between
    trainings of a network, and between networks.
    """

    tau: Estimate
    reachable: Estimate
    training_std: float
    network_std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The figures over all networks, or over those of a band.

    `n` networks are judged on, on average over the splits. `scores` has the proxy first, then the
    bars; `differences` the proxy's less each bar's, by the bar's name, on the same resamples.
    """

    n: float
    scores: tuple[Figures, ...]
    differences: tuple[Figures, ...]
    repeatability: Repeatability | None = None

    @property
    def is_small(self) -> bool:
        """Tell whether the networks are too few for their order to mean much."""
        return self.n < FEW

    @classmethod
    def of(
        cls,
        scores: Sequence[Scores],
        top1: Array,
        is_counted: NDArray[np.bool_],
        weights: Array,
    ) -> Self:
        """Judge the first score and the bars after it.

        `top1` (n_trainings, n) is the truth, `weights` (1 + n_bootstrap, n) the resamples. All
        scores are judged on the same networks: those that count and that the first has a figure of.
        """
        proxy, *bars = scores
        truth = top1.mean(axis=0)
        masks = [is_counted & np.isfinite(truth) & np.isfinite(row) for row in proxy.values]
        samples = {
            one.name: {
                name: _mean_over_splits(one, name, truth, weights, masks) for name in STATISTICS
            }
            for one in scores
        }
        own = samples[proxy.name]
        differences = {
            bar.name: {name: own[name] - samples[bar.name][name] for name in STATISTICS}
            for bar in bars
        }
        return cls(
            n=float(np.mean([mask.sum() for mask in masks])),
            scores=_figures(samples),
            differences=_figures(differences),
            repeatability=_repeatability(top1, is_counted, weights),
        )


def _figures(samples: Mapping[str, Mapping[str, Array]]) -> tuple[Figures, ...]:
    return tuple(
        Figures(name=name, estimates={key: Estimate.of(one) for key, one in found.items()})
        for name, found in samples.items()
    )


def _mean_over_splits(
    scores: Scores,
    statistic: str,
    truth: Array,
    weights: Array,
    masks: Sequence[NDArray[np.bool_]],
) -> Array:
    """Return the statistic's mean over the splits in which there is an order, a figure a sample."""
    rows = [scores.values[number % len(scores.values)] for number in range(len(masks))]
    found = np.array(
        [
            STATISTICS[statistic](row, truth, weights * mask)
            for row, mask in zip(rows, masks, strict=True)
        ]
    )
    is_known = np.isfinite(found)
    n_known = is_known.sum(axis=0)
    total = np.where(is_known, found, 0).sum(axis=0)
    return np.where(n_known > 0, total / np.maximum(n_known, 1), nan)


def _repeatability(
    top1: Array, is_counted: NDArray[np.bool_], weights: Array
) -> Repeatability | None:
    kept = is_counted & np.isfinite(top1).all(axis=0)
    if len(top1) < 2 or kept.sum() < 2:
        return None
    pairs = [kendall(first, second, weights * kept) for first, second in combinations(top1, 2)]
    tau = np.mean(pairs, axis=0)
    reachable = np.array([reachable_tau(float(one), len(top1)) for one in tau])
    own = top1[:, kept]
    return Repeatability(
        tau=Estimate.of(tau),
        reachable=Estimate.of(reachable),
        training_std=float(np.sqrt(own.var(axis=0, ddof=1).mean())),
        network_std=float(own.mean(axis=0).std(ddof=1)),
    )
