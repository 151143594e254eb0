"""How well a latency cost model predicts timed blocks that it was not fitted on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.fit_cost_model import CostModelFit
from nas.latency.terms import Array

MeanErrors = dict[str, dict[str, float]]
"""Mean absolute relative errors in percent: what was left out, then of which blocks."""

FOLDS = "a fifth of the rows"
GROUPS = {"a resolution": "h_in", "an input width": "c_in", "an output width": "c_out"}


def mean_errors(
    fitted: CostModelFit, ms: Array, *, seed: int = 0, with_groups: bool = False
) -> MeanErrors:
    """Return the errors on each kind of block in cross-validation, a fifth left out at a time.

    With groups, also on the MBConv blocks of each resolution and each channel width, fitted without
    any of them; that takes as many fits as there are sizes and widths.
    """
    kinds = np.array(fitted.blocks.kinds)
    errors = {FOLDS: by_group(fitted.cross_validate(ms, seed), kinds)}
    if with_groups:
        is_mbconv = np.char.startswith(kinds, "mbconv")
        for left_out, column in GROUPS.items():
            groups = np.array(fitted.blocks.groups[column])[is_mbconv]
            errors[left_out] = by_group(fitted.leave_groups_out(column, ms)[is_mbconv], groups)
    return errors


def summary(errors: MeanErrors) -> dict[str, float]:
    """Return one line a kind of block in cross-validation, and the mean and worst of each group."""
    lines = {f"{FOLDS}: {kind}": error for kind, error in errors[FOLDS].items()}
    for left_out in [name for name in GROUPS if name in errors]:
        found = errors[left_out].values()
        lines[f"{left_out}: mean"] = sum(found) / len(found)
        lines[f"{left_out}: worst"] = max(found)
    return lines


def by_group(errors: Array, groups: NDArray[Any]) -> dict[str, float]:
    """Return the mean absolute error in percent of each group."""
    percent = 100 * np.abs(errors)
    return {
        str(name): round(float(percent[groups == name].mean()), 3) for name in np.unique(groups)
    }
