"""The choices of a space as Optuna's distributions, copied and compared quickly.

Optuna copies and compares the distribution of each choice several times a trial, value by value: a
third of what it takes to ask and tell a trial of 34 choices.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution


class _Lasting(CategoricalDistribution):
    """Choices that nobody changes: a copy is the same object, which is equal without a look."""

    def __copy__(self) -> "_Lasting":
        return self

    def __deepcopy__(self, memo: object) -> "_Lasting":
        return self

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__


def lasting(distributions: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """Return distributions for a study in memory: equal choices are one object, in every study."""
    return {
        name: _of(tuple(map(type, one.choices)), tuple(one.choices))
        if isinstance(one, CategoricalDistribution)
        else one
        for name, one in distributions.items()
    }


def categorical(choices: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Return plain distributions, as storages write them."""
    return {name: CategoricalDistribution(values) for name, values in choices.items()}


@cache
def _of(types: tuple[type, ...], choices: tuple[Any, ...]) -> _Lasting:
    # The types tell True from 1, which are equal as keys.
    return _Lasting(choices)
