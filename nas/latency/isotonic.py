"""Fit values that never fall from a smaller block to a larger one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from nas.errors import NasError
from nas.latency.bounds import Sizes
from nas.latency.terms import Array


def covering_pairs(sizes: Sizes) -> tuple[list[int], list[int]]:
    """Return the pairs (smaller, larger) of comparable blocks with no block between them."""
    pairs = [(row, above) for row in range(len(sizes)) for above in _covers(sizes, row)]
    return [below for below, _ in pairs], [above for _, above in pairs]


def _covers(sizes: Sizes, row: int) -> Iterator[int]:
    is_above = (sizes[:, 0] == sizes[row, 0]) & (sizes >= sizes[row]).all(axis=1)
    above = np.flatnonzero(is_above & (sizes != sizes[row]).any(axis=1))
    above = above[np.argsort(sizes[above].sum(axis=1), kind="stable")]
    while above.size:
        yield int(above[0])
        above = above[~(sizes[above] >= sizes[above[0]]).all(axis=1)]


def isotonic(pairs: tuple[list[int], list[int]], target: Array, weight: Array) -> Array:
    """Return the values that grow along the pairs and miss the target least.

    The loss is the sum of weight times absolute error: outliers do not pull their neighbours.
    """
    n, n_pairs = len(target), len(pairs[0])
    rows = np.tile(np.arange(n_pairs), 2)
    signs = np.repeat([1.0, -1.0], n_pairs)
    columns = np.concatenate(pairs)
    order = sp.coo_matrix((signs, (rows, columns)), shape=(n_pairs, 2 * n))
    one = sp.identity(n)
    # The unknowns are the values and the absolute errors above and below the target.
    rules: Any = sp.vstack([order, sp.hstack([one, -one]), sp.hstack([-one, -one])]).tocsr()
    solution = linprog(
        np.concatenate([np.zeros(n), weight]),
        A_ub=rules,
        b_ub=np.concatenate([np.zeros(n_pairs), target, -target]),
        bounds=(0.0, None),
        method="highs-ipm",
    )
    if solution.x is None:
        raise NasError(f"the bounds of timed blocks cannot be fitted: {solution.message}")
    values: Array = solution.x[:n]
    return values
