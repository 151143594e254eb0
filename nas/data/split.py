"""Which images are taken and which are held out: by class in proportion, the same for a seed."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def choose(labels: Rows, n_rows: int, generator: np.random.Generator, least: int = 0) -> Rows:
    """Return `n_rows` of the rows in ascending order, with the classes in proportion.

    Args:
        labels: the class of each row, from 0.
        n_rows: how many are chosen, from `least` times the number of classes to all.
        generator: what chooses within a class.
        least: so many rows of each class are chosen, where it has them.
    """
    counts = np.bincount(labels)
    quotas = _quotas(counts, n_rows, least)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    chosen = [
        generator.permutation(rows)[:quota] for rows, quota in zip(by_class, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def hold_out(labels: Rows, share: float, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the rows that stay and the rows that are held out, each in ascending order.

    Of each class about `share` is held out, at least one row, and at least one stays; so each
    must have two.
    """
    counts = np.bincount(labels)
    n_classes = int((counts > 0).sum())
    n_held = min(max(round(share * len(labels)), n_classes), len(labels) - n_classes)
    # At least one of each class is chosen, and the smaller part is: so one of each class is left.
    is_held_chosen = 2 * n_held <= len(labels)
    n_chosen = n_held if is_held_chosen else len(labels) - n_held
    is_held = np.full(len(labels), not is_held_chosen)
    is_held[choose(labels, n_chosen, generator, least=1)] = is_held_chosen
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _quotas(counts: Rows, n_rows: int, least: int) -> Rows:
    """Share `n_rows` out among the classes by the largest remainder."""
    ideal = counts * (n_rows / counts.sum())
    quotas: Rows = np.maximum(np.floor(ideal).astype(np.int64), np.minimum(least, counts))
    while quotas.sum() < n_rows:
        quotas[np.argmax(np.where(quotas < counts, ideal - quotas, -np.inf))] += 1
    while quotas.sum() > n_rows:
        quotas[np.argmax(np.where(quotas > least, quotas - ideal, -np.inf))] -= 1
    return quotas
