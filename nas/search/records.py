"""The records of a search: its target, a network's figures, a finished trial."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nas.arch import Arch
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.objective import Objective
from nas.space import SearchSpace
from nas.steps import OnStep
from nas.text import is_number


class Proxy(Protocol):
    """Estimates the accuracy of networks without training them in full."""

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the top-1 of each arch, in percent.

        Both are NaN for a network that it cannot judge.
        """


OnEpoch = Callable[[int, float], bool]
"""Told an epoch from 1 on and the top-1 after it in percent; returns whether to stop."""
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""How a trial may end, in our words and in Optuna's."""
NO_REPORTS: Mapping[int, float] = MappingProxyType({})
"""Those of a network that nobody watched: one object for all."""


@runtime_checkable
class Learner(Proxy, Protocol):
    """A proxy that learns the searched spaces before it predicts."""

    def prepare(self, targets: Sequence["Target"], table: LatencyTable, on_step: OnStep) -> None:
        """Learn; what was learnt before an interruption is not paid for again."""


@runtime_checkable
class Trainer(Proxy, Protocol):
    """A proxy that trains each network that it is asked about, and so is asked about few."""

    def evaluate(self, arch: Arch, on_epoch: OnEpoch) -> tuple[float, float] | None:
        """Return top-1 and standard deviation in percent, or None when `on_epoch` stopped it.

        Raises:
            NetworkError: this network cannot be trained.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one study looks for.

    `risk` is how many of the proxy's standard deviations are subtracted from its mean, so that the
    search does not run to where the proxy knows least.
    """

    name: str
    space: SearchSpace
    target_ms: float
    objective: Objective
    n_trials: int
    risk: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The figures of one network: ms from the table, top-1 and its spread from the proxy.

    `state` is pruned for a network whose training was stopped early: its top-1 is that of the last
    epoch, and not to be compared with others. It is failed for one that could not be judged, for
    a `reason`.
    """

    key: str
    ms: float
    top1: float
    top1_std: float
    state: str = "complete"
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        """Tell whether the figures are final."""
        return self.state == "complete"

    def cautious_top1(self, risk: float) -> float:
        """Return the accuracy that the search counts on."""
        return self.top1 - risk * self.top1_std


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A trial that ended: its number, choices and values, and its network's figures.

    One that was pruned or failed has no values. `reports` are the values after each epoch of a
    training that was watched.
    """

    number: int
    choices: Mapping[str, Any]
    values: tuple[float, ...]
    evaluation: Evaluation
    is_new: bool
    seconds: float
    reports: Mapping[int, float] = field(default_factory=lambda: NO_REPORTS)

    def row(self, study: str) -> dict[str, Any]:
        """Return the line of trials.csv."""
        one = self.evaluation
        return {
            "study": study,
            "trial": self.number,
            "key": one.key,
            "state": one.state,
            "reward": f"{self.values[0]:.6f}" if len(self.values) == 1 else "",
            "ms": f"{one.ms:.6f}",
            "top1": f"{one.top1:.4f}",
            "top1_std": f"{one.top1_std:.4f}",
            "is_new": int(self.is_new),
            "seconds": f"{self.seconds:.6f}",
            "choices": json.dumps(dict(self.choices.items()), separators=(",", ":")),
            "reason": one.reason,
        }

    def attributes(self) -> dict[str, Any]:
        """Return what the journal keeps beside choices and values."""
        one = self.evaluation
        return {
            "key": one.key,
            "ms": one.ms,
            "top1": one.top1,
            "top1_std": one.top1_std,
            "is_new": self.is_new,
            "seconds": self.seconds,
            **({"reason": one.reason} if one.reason else {}),
        }

    @classmethod
    def of(
        cls,
        trial: FrozenTrial,
        number: int,
        kept: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> Self:
        """Return a trial of the journal, its choices as `kept` makes them of Optuna's.

        Raises:
            NasError: the journal lacks the network's figures.
        """
        found = trial.user_attrs
        try:
            evaluation = Evaluation(
                key=str(found["key"]),
                ms=float(found["ms"]),
                top1=float(found["top1"]),
                top1_std=float(found["top1_std"]),
                state=next(name for name, state in STATES.items() if state == trial.state),
                reason=str(found.get("reason", "")),
            )
            is_new, seconds = bool(found["is_new"]), float(found["seconds"])
            values = tuple(trial.values) if evaluation.is_whole else ()
            figures = (evaluation.ms, evaluation.top1, evaluation.top1_std, seconds)
            if not all(map(is_number, (*figures, *values))):
                raise ValueError("not finite")
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise NasError(
                f"trial {number} of the journal lacks its network's figures ({error}). Start a "
                "new run folder."
            ) from error
        return cls(
            number=number,
            choices=kept(trial.params),
            values=values,
            evaluation=evaluation,
            is_new=is_new,
            seconds=seconds,
            reports=dict(trial.intermediate_values) or NO_REPORTS,
        )
