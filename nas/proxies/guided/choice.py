"""Choose the networks whose training teaches the regression most about all the others."""

from collections.abc import Sequence

import numpy as np

from nas.arch import Arch
from nas.proxies.features import Array
from nas.proxies.guided.covariance import Covariance
from nas.proxies.guided.profile import PROPERTIES, Profile

MOST_CANDIDATES = 1000
"""So many are looked at, evenly spread: the time grows with their square."""


def choose(candidates: Sequence[Arch], n: int, *, trained: Sequence[Arch] = ()) -> list[int]:
    """Return the indices of up to n different candidates to train next, the most telling first.

    Each is the one after whose training the sum of the candidates' variances would be least (greedy
    A-optimal design; Seo et al., 2000). That needs no accuracy: what counts is what is expected of
    any space. No candidate is chosen that equals one of `trained`.
    """
    looked_at = _evenly(len(candidates))
    archs = [candidates[index] for index in looked_at]
    if not archs or n < 1:
        return []
    covariance = Covariance.expected(len(PROPERTIES))
    profile = Profile.of([*archs, *trained])
    rows = covariance.rows(profile(archs))
    unknown = covariance.between(rows, rows)
    if trained:
        known = covariance.rows(profile(trained))
        told = np.linalg.solve(covariance.root(known), covariance.between(known, rows))
        unknown -= told.T @ told
    found = _greedy(unknown, covariance.noise, n, _numbered(archs, trained))
    return [looked_at[index] for index in found]


def _evenly(n: int) -> list[int]:
    spread = np.linspace(0, n - 1, min(n, MOST_CANDIDATES))
    return sorted({int(index) for index in spread})


def _numbered(archs: Sequence[Arch], trained: Sequence[Arch]) -> list[int]:
    """Return a number for each network, the same for equal ones; -1 for a trained one."""
    numbers = dict.fromkeys((arch.key() for arch in trained), -1)
    return [numbers.setdefault(arch.key(), index) for index, arch in enumerate(archs)]


def _greedy(unknown: Array, noise: float, n: int, numbers: Sequence[int]) -> list[int]:
    equal = np.array(numbers)
    is_free = equal >= 0
    found: list[int] = []
    while len(found) < n and is_free.any():
        gains = np.einsum("ij,ij->j", unknown, unknown) / (np.diag(unknown) + noise)
        best = int(np.argmax(np.where(is_free, gains, -1)))
        found.append(best)
        is_free &= equal != equal[best]
        column = unknown[:, best].copy()
        unknown = unknown - np.outer(column, column / (column[best] + noise))
    return found
