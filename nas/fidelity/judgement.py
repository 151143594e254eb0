"""All that a run of `nas.fidelity` found, and its JSON file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Self

import numpy as np

from nas.cost import count_macs, count_params
from nas.fidelity.figures import Figures, Region, Repeatability, Scores
from nas.fidelity.rank_agreement import CONFIDENCE, TOP_SHARE, Array, Estimate, resamples
from nas.fidelity.selection import Selection
from nas.results import environment
from nas.text import write_text

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Truths:
    """The top-1 of each network in percent, a row a training; NaN: `reasons` has it by key.

    `origin` says where the networks and their accuracies are from; `seconds` are those of a
    training as far as any was made now, else NaN.
    """

    origin: str
    top1: Array
    seconds: float = float("nan")
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A proxy beside the bars, on the networks of a selection.

    `scores` has the proxy first. `facts` says how the figures came about, `notes` what to know
    before one believes them.
    """

    selection: Selection
    truths: Truths
    scores: tuple[Scores, ...]
    over_all: Region
    in_band: Region
    facts: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def proxy(self) -> Scores:
        """Return the scores of the proxy that is judged."""
        return self.scores[0]

    @classmethod
    def of(
        cls,
        selection: Selection,
        truths: Truths,
        scores: Sequence[Scores],
        *,
        facts: Mapping[str, str],
        notes: Sequence[str] = (),
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> Self:
        """Compute the figures over the sample and in the band, on the same resamples."""
        weights = resamples(len(selection), n_bootstrap, seed)
        over_all = Region.of(scores, truths.top1, selection.is_sample, weights)
        in_band = Region.of(scores, truths.top1, selection.in_band, weights)
        return cls(
            selection=selection,
            truths=truths,
            scores=tuple(scores),
            over_all=over_all,
            in_band=in_band,
            facts=facts,
            notes=(*notes, *_warnings(selection, truths, scores[0], (over_all, in_band))),
        )

    def save(self, path: Path) -> None:
        """Write the JSON file; a figure that does not exist is null."""
        content = {
            "version": VERSION,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "confidence": CONFIDENCE,
            "top_share": TOP_SHARE,
            "scores": {one.name: _scores(one) for one in self.scores},
            "seconds_of_a_training": _number(self.truths.seconds),
            "all": _region(self.over_all),
            "band": {
                "middle": _number(self.selection.median_ms),
                "half_width": self.selection.band,
                "unit": self.selection.unit,
                "table": self.selection.table,
                **_region(self.in_band),
            },
            "networks": self.networks(),
            "environment": environment(),
        }
        write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def networks(self) -> list[dict[str, Any]]:
        """Return a row a network: what it is, what it reached and what was said of it."""
        selection, proxy = self.selection, self.proxy
        said, mean = proxy.mean_values, self.truths.top1.mean(axis=0)
        reasons = {**proxy.reasons, **self.truths.reasons}
        return [
            {
                "name": arch.name,
                "key": arch.key(),
                "top1": _number(mean[number]),
                "trainings": [_number(one) for one in self.truths.top1[:, number]],
                "score": _number(said[number]),
                "ms" if selection.unit == "ms" else "macs_m": _number(selection.ms[number]),
                "macs": count_macs(arch),
                "params": count_params(arch),
                "is_sample": bool(selection.is_sample[number]),
                "is_in_band": bool(selection.in_band[number]),
                **({"left_out": reasons[arch.key()]} if arch.key() in reasons else {}),
            }
            for number, arch in enumerate(selection.archs)
        ]


def _warnings(
    selection: Selection, truths: Truths, proxy: Scores, regions: tuple[Region, Region]
) -> list[str]:
    over_all, in_band = regions
    found = []
    for who, reasons in (("the truth", truths.reasons), (proxy.name, proxy.reasons)):
        if reasons:
            key, reason = next(iter(reasons.items()))
            found.append(
                f"{len(reasons)} of {len(selection)} networks are left out, as {who} has no figure "
                f"for them. The first is {key}: {reason}"
            )
    if in_band.is_small:
        found.append(
            f"Only {in_band.n:.3g} networks lie in the band: their order says little. Raise n, "
            "n_band or band."
        )
    repeatability = over_all.repeatability
    if repeatability and not repeatability.tau.low > 0:
        found.append(
            "Two trainings of the same networks do not surely order them alike, so no proxy can be "
            "judged by them. Train longer (truth.recipe.epochs=, truth.recipe.n_images=), or raise "
            "repeats or n."
        )
    if len(truths.top1) < 2:
        found.append(
            "Each network has one figure of its accuracy, so how far two trainings would agree is "
            "not known."
        )
    return found


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "seconds": _number(scores.seconds),
        "prepared_s": _number(scores.prepared_s),
        "n_labels": scores.n_labels,
        "n_splits": len(scores.values),
        "n_left_out": len(scores.reasons),
    }


def _region(region: Region) -> dict[str, Any]:
    return {
        "n": _number(region.n),
        "scores": {one.name: _figures(one) for one in region.scores},
        "differences": {one.name: _figures(one) for one in region.differences},
        "repeatability": _repeatability(region.repeatability),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {name: _estimate(one) for name, one in figures.estimates.items()}


def _repeatability(found: Repeatability | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "kendall": _estimate(found.tau),
        "reachable_kendall": _estimate(found.reachable),
        "training_std": _number(found.training_std),
        "network_std": _number(found.network_std),
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: _number(getattr(estimate, name)) for name in ("value", "low", "high")}


def _number(value: float | np.floating[Any]) -> float | None:
    return float(f"{float(value):.8g}") if isfinite(value) else None
