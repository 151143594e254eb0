"""Fit the latency cost model on timed blocks, and measure it on blocks it was not fitted on."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from nas.latency.bounds import Bounds, sizes_of
from nas.latency.cost_model import CostModel, core_of
from nas.latency.features import hswish_elements, matrix
from nas.latency.hswish import HswishEffect
from nas.latency.isotonic import covering_pairs, isotonic
from nas.latency.terms import TERMS, Array
from nas.latency.timed_blocks import TimedBlocks

N_FOLDS = 5
N_REWEIGHTINGS = 4
N_HSWISH_ROUNDS = 2
MIN_ROWS = 5
# Below this relative error a row counts by its square, above by its absolute value.
SMALL_ERROR = 0.004
# Keeps the price of terms that move together finite; far below any effect on predictions.
RIDGE = 1e-6
# A timed block nearer than this to the sum of its terms tells next to nothing that they do not.
NEAR = 0.01
Mask = NDArray[np.bool_]


class CostModelFit:
    """Timed blocks with their features, so that many subsets can be fitted."""

    def __init__(self, blocks: TimedBlocks) -> None:
        self.blocks = blocks
        terms = list(TERMS.values())
        core, shortcut = matrix(blocks.core_ops, terms), matrix(blocks.shortcuts, terms)
        is_met: Mask = np.any(core + shortcut, axis=0)
        self.names = [name for name, met in zip(TERMS, is_met, strict=True) if met]
        self.core, self.shortcut = core[:, is_met], shortcut[:, is_met]
        self.hswish_elements = hswish_elements(blocks.core_ops)
        self.bounded = np.flatnonzero([layers[0].op == "mbconv" for layers in blocks.cores])
        sizes = sizes_of([core_of(blocks.cores[row][0]) for row in self.bounded])
        self.sizes, self.size_of_row = np.unique(sizes, axis=0, return_inverse=True)
        self.pairs = covering_pairs(self.sizes)
        self.hswish = HswishEffect.published()

    def fit(self, ms: Array, kept: Mask | None = None, device: str = "unnamed") -> CostModel:
        """Return the model of the blocks in the mask `kept`, by default all, that took `ms`."""
        kept = np.ones(len(ms), dtype=np.bool_) if kept is None else kept
        features = (self.core + self.shortcut)[kept]
        hswish_ms = 0.0
        for n_rounds in (*[1] * N_HSWISH_ROUNDS, N_REWEIGHTINGS):
            hswish = self.hswish_elements[kept] * hswish_ms
            prices = non_negative_fit(features, ms[kept] - hswish, ms[kept], n_rounds)
            priced = zip(self.names, prices.tolist(), strict=True)
            terms = {name: price for name, price in priced if price > 0}
            model = CostModel(device=device, terms=terms, hswish_ms=hswish_ms)
            hswish_ms = self.hswish.per_element_ms(model)
        return replace(model, bounds=self._bounds(prices, model.hswish_ms, ms, kept))

    def _bounds(self, prices: Array, hswish_ms: float, ms: Array, kept: Mask) -> Bounds:
        is_kept = kept[self.bounded]
        rows, sizes = self.bounded[is_kept], self.size_of_row[is_kept]
        if not rows.size:
            return Bounds.none()
        n_rows = np.bincount(sizes, minlength=len(self.sizes))

        def mean_by_size(values: Array) -> Array:
            sums = np.bincount(sizes, values[rows], minlength=len(self.sizes))
            return sums / np.maximum(n_rows, 1)

        beside = self.hswish_elements * hswish_ms + self.shortcut @ prices
        target, terms_ms = mean_by_size(ms - beside), mean_by_size(self.core @ prices)
        # Sizes without a row weigh nothing: they only carry the order between their neighbours.
        values = isotonic(self.pairs, target, n_rows * mean_by_size(1 / ms))
        is_far = np.abs(values - terms_ms) > NEAR * terms_ms
        is_anchor = is_far & (n_rows > 0) & (values > 0)
        return Bounds(sizes=self.sizes[is_anchor], ms=values[is_anchor].round(6))

    def without(self, left_out: Mask, ms: Array) -> Array:
        """Return the relative errors on the blocks in a mask, fitted on the others."""
        rows = np.flatnonzero(left_out)
        return predicted_ms(self.fit(ms, ~left_out), self.blocks, rows) / ms[rows] - 1

    def cross_validate(self, ms: Array, seed: int = 0) -> Array:
        """Return the relative error on each block, predicted by the fold that left it out."""
        folds = np.random.default_rng(seed).permutation(len(ms)) % N_FOLDS
        return self._errors(folds, ms)

    def leave_groups_out(self, group: str, ms: Array) -> Array:
        """Return the relative error on each block, fitted without its size or channel width."""
        return self._errors(np.array(self.blocks.groups[group]), ms)

    def _errors(self, groups: NDArray[np.int_], ms: Array) -> Array:
        errors = np.zeros(len(ms))
        for group in np.unique(groups):
            errors[groups == group] = self.without(groups == group, ms)
        return errors


def predicted_ms(model: CostModel, blocks: TimedBlocks, rows: Iterable[int]) -> Array:
    """Return the model's ms of some of the timed blocks, with their convolved shortcut."""
    rows = list(rows)
    counts = [len(blocks.cores[row]) for row in rows]
    ms = model.predict_many_ms([layer for row in rows for layer in blocks.cores[row]])
    owners = np.repeat(np.arange(len(rows)), counts)
    cores = np.bincount(owners, ms, len(rows)).astype(np.float64)
    return cores + model.terms_ms([blocks.shortcuts[row] for row in rows])


def non_negative_fit(features: Array, target: Array, unit: Array, n_rounds: int) -> Array:
    """Return the prices >= 0 that predict the target best, in errors relative to `unit`.

    Rounds after the first give each row the weight that turns squares into absolute errors. A
    feature of too few rows has no price: what it costs could only be guessed.
    """
    is_priced = np.count_nonzero(features, axis=0) >= MIN_ROWS
    relative = features[:, is_priced] / unit[:, None]
    scale = np.sqrt((relative**2).sum(axis=0))
    relative /= scale
    goal, weight = target / unit, np.ones(len(target))
    for _ in range(n_rounds):
        weighted = relative * (weight / weight.mean())[:, None]
        gram = weighted.T @ relative + RIDGE * np.identity(len(scale))
        factor = np.linalg.cholesky(gram)
        projected = solve_triangular(factor, weighted.T @ goal, lower=True)
        fitted = nnls(factor.T, projected, maxiter=100 * len(scale))[0]
        weight = 1 / np.maximum(np.abs(relative @ fitted - goal), SMALL_ERROR)
    prices = np.zeros(features.shape[1])
    prices[is_priced] = fitted / scale
    return prices
