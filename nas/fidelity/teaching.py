"""Proxies that learn from some networks: taught those, and asked about the others."""

import time
from collections.abc import Sequence
from math import nan
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.arch import Arch
from nas.fidelity.answers import answers_of
from nas.fidelity.figures import Scores
from nas.fidelity.rank_agreement import Array
from nas.search.records import Proxy
from nas.steps import OnStep

MIN_TESTED = 10
"""Networks that must be left to judge what was learned from the others."""


@runtime_checkable
class Teachable(Proxy, Protocol):
    """A proxy that learns from `n_train` trained networks, which it may choose.

    One that has no wish has no method `choose`, and gets the first of a random order.
    """

    n_train: int

    def learn(self, archs: Sequence[Arch], top1: ArrayLike) -> None:
        """Forget what was learned before, and learn from networks and their top-1 in percent."""


@runtime_checkable
class Choosing(Protocol):
    """Chooses the networks that would teach it most."""

    def choose(self, candidates: Sequence[Arch], n: int) -> Sequence[int]:
        """Return the numbers of `n` different candidates."""


def scores_when_taught(
    proxy: Teachable,
    name: str,
    archs: Sequence[Arch],
    labels: Array,
    *,
    n_splits: int,
    seed: int,
    on_step: OnStep,
) -> Scores:
    """Teach a proxy some of the networks and ask it about all others, in each of several splits.

    In each split it chooses its `n_train` from a random half of the networks, or from as many as
    that takes, and it sees the labels of no others.
    """
    n = len(archs)
    values = np.full((n_splits, n), nan)
    reasons: dict[str, str] = {}
    asked_s = learned_s = 0.0
    for split, rng in enumerate(np.random.default_rng(seed).spawn(n_splits)):
        begun = time.perf_counter()
        taught = _taught(proxy, archs, np.isfinite(labels), rng)
        proxy.learn([archs[one] for one in taught], labels[taught])
        learned_s += time.perf_counter() - begun
        rest = np.setdiff1d(np.arange(n), taught)
        found = answers_of(proxy, [archs[one] for one in rest], lambda _: None)
        values[split, rest] = found.top1
        reasons |= found.reasons
        asked_s += found.seconds
        on_step(f"teaching {name}", split + 1, n_splits)
    return Scores(
        name=name,
        values=values,
        seconds=asked_s / n_splits,
        prepared_s=learned_s / n_splits,
        n_labels=proxy.n_train,
        reasons=reasons,
    )


def _taught(
    proxy: Teachable,
    archs: Sequence[Arch],
    has_label: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Return the numbers of the networks that the proxy learns from."""
    labelled = rng.permutation(np.flatnonzero(has_label))
    pool = labelled[: max(proxy.n_train, (len(labelled) + 1) // 2)]
    if not isinstance(proxy, Choosing):
        return pool[: proxy.n_train]
    chosen = list(proxy.choose([archs[one] for one in pool], proxy.n_train))
    return pool[chosen]
