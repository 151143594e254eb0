"""How far the accuracy of one network differs from seed to seed."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nas.training.recipe import Recipe
from nas.training.results import TrainingResult

if TYPE_CHECKING:
    from nas.data.images import ImageData

USUAL_STD = 1.0
"""Percent between seeds before any is known.

On CIFAR-10, 8 networks of each space, 10 to 18 s of training: 0.6 where 5,000 images judge (tiny),
1.1 to 1.4 where 2,000 do (small_images).
"""
N_USUAL = 4
"""Repeats that what is usual counts as much as."""


def seed_std(results: Iterable[TrainingResult], recipe: Recipe, data: "ImageData") -> float:
    """Return the standard deviation between seeds in percent, for one recipe on some data.

    It is pooled over all networks with results of several seeds, and starts from `USUAL_STD`.
    """
    by_key = defaultdict(list)
    for result in results:
        name = result.name
        if result.state == "whole" and (name.recipe, name.data) == (recipe.digest(), data.digest):
            by_key[name.key].append(result.top1)
    squares = sum(float(np.var(top1)) * len(top1) for top1 in by_key.values())
    n_free = sum(len(top1) - 1 for top1 in by_key.values())
    return float(((USUAL_STD**2 * N_USUAL + squares) / (N_USUAL + n_free)) ** 0.5)
