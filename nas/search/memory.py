"""A study in memory, for Optuna's samplers and pruners: little to write, and little to keep.

Optuna's own copies a trial for each of its choices, and keeps two dictionaries of every one.
"""

from collections.abc import Container, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.search.choices import Catalogue

WAITING = (TrialState.WAITING,)


class _Trial(FrozenTrial):
    """A trial that is copied quickly: only its attributes may hold what can be changed inside."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Trial":
        return _like(self, self.number)


def _like(trial: FrozenTrial, number: int) -> _Trial:
    return _Trial(
        number=number,
        trial_id=number,
        state=trial.state,
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=dict(trial.params),
        distributions=dict(trial.distributions),
        user_attrs=deepcopy(trial.user_attrs),
        system_attrs=deepcopy(trial.system_attrs),
        intermediate_values=dict(trial.intermediate_values),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """What is kept of a finished trial: its choices as codes, no times, no empty dictionary."""

    codes: Sequence[int]
    state: TrialState
    values: tuple[float, ...] | None
    user_attrs: dict[str, Any] | None
    system_attrs: dict[str, Any] | None
    reports: dict[int, float] | None


class StudyInMemory(BaseStorage):
    """Keeps the trials of one study, for one thread; a trial's id is its number.

    As Optuna wants it, what was read does not change any more: each write puts a copy in the
    trial's place. Only choices are written into a trial, as nobody reads them while it is asked
    for. One that has ended is kept in few bytes, unless a sampler or pruner looks at the past
    trials again and again.
    """

    def __init__(self, catalogue: Catalogue, distributions: Mapping[str, BaseDistribution]) -> None:
        self._catalogue = catalogue
        self._distributions = dict(distributions)
        self._trials: list[FrozenTrial | _Ended] = []
        self._waiting: list[int] = []
        self._n_looks = 0
        self._about = InMemoryStorage()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, empty or like another one, and return its number."""
        number = len(self._trials)
        trial = _like(template_trial or create_trial(state=TrialState.RUNNING), number)
        self._trials.append(self._kept(trial))
        if trial.state == TrialState.WAITING:
            self._waiting.append(number)
        return number

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Write a choice."""
        trial = self._open(trial_id)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Begin or end a trial; return whether that is news."""
        trial = copy(self._open(trial_id))
        if state == TrialState.RUNNING:
            if trial.state != TrialState.WAITING:
                return False
            self._waiting.remove(trial_id)
            trial.datetime_start = datetime.now()
        trial.state = state
        if values is not None:
            trial.values = values
        self._trials[trial_id] = self._kept(trial)
        return True

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Write the value after an epoch."""
        trial = self._rewritten(trial_id)
        trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write an attribute."""
        trial = self._rewritten(trial_id)
        trial.user_attrs = {**trial.user_attrs, key: value}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write what Optuna notes beside a trial."""
        trial = self._rewritten(trial_id)
        trial.system_attrs = {**trial.system_attrs, key: value}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        if not 0 <= trial_id < len(self._trials):
            raise KeyError(f"there is no trial {trial_id}")
        trial = self._trials[trial_id]
        return self._unfolded(trial_id, trial) if isinstance(trial, _Ended) else trial

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials, by number."""
        if states == WAITING:
            trials = [self.get_trial(number) for number in self._waiting]
        else:
            trials = self._looked_at()
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return [_like(trial, trial.number) for trial in trials] if deepcopy else trials

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the number, which is the id."""
        return self.get_trial(trial_number).number

    def _open(self, number: int) -> FrozenTrial:
        trial = self.get_trial(number)
        if trial.state.is_finished():
            raise UpdateFinishedTrialError(f"trial {number} has ended")
        return trial

    def _rewritten(self, number: int) -> FrozenTrial:
        trial = copy(self._open(number))
        self._trials[number] = trial
        return trial

    def _looked_at(self) -> list[FrozenTrial]:
        # Regularised evolution looks once, where a search goes on; others before each trial, and
        # with them the trials stay as they were looked at.
        self._n_looks += 1
        trials = [self.get_trial(number) for number in range(len(self._trials))]
        if self._n_looks > 1:
            self._trials[:] = trials
        return trials

    def _kept(self, trial: FrozenTrial) -> "FrozenTrial | _Ended":
        if not trial.state.is_finished() or trial.distributions != self._distributions:
            return trial
        trial.distributions = self._distributions
        codes = None if self._n_looks > 1 else self._catalogue.codes(trial.params)
        if codes is None:
            return trial
        return _Ended(
            codes=codes,
            state=trial.state,
            values=None if trial.values is None else tuple(trial.values),
            user_attrs=trial.user_attrs or None,
            system_attrs=trial.system_attrs or None,
            reports=trial.intermediate_values or None,
        )

    def _unfolded(self, number: int, ended: _Ended) -> FrozenTrial:
        return _Trial(
            number=number,
            trial_id=number,
            state=ended.state,
            value=None,
            values=ended.values,
            datetime_start=None,
            datetime_complete=None,
            params=self._catalogue.plain(ended.codes),
            distributions=self._distributions,
            user_attrs=ended.user_attrs or {},
            system_attrs=ended.system_attrs or {},
            intermediate_values=ended.reports or {},
        )

    # What Optuna keeps of the study itself.

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Begin the study."""
        return self._about.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Forget it."""
        self._about.delete_study(study_id)
        self._trials.clear()
        self._waiting.clear()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write an attribute."""
        self._about.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write what a sampler notes."""
        self._about.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return its id."""
        return self._about.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return its name."""
        return self._about.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return its directions."""
        return self._about.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return its attributes."""
        return self._about.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what samplers noted."""
        return self._about.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        """Return the study."""
        return self._about.get_all_studies()
