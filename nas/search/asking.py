"""Asking a sampler for the choices of a trial: all at once, as Optuna asks for each alone."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import HyperbandPruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study
from optuna.trial import Trial

from nas.search.choices import Catalogue
from nas.search.memory import WAITING, StudyInMemory


def memory(catalogue: Catalogue, distributions: Mapping[str, BaseDistribution]) -> BaseStorage:
    """Return a place for a study's trials; Optuna's own, should it ever ask more of one."""
    if StudyInMemory.__abstractmethods__:
        return InMemoryStorage()
    return StudyInMemory(catalogue, distributions)


def ask(
    study: Study, storage: BaseStorage, distributions: Mapping[str, BaseDistribution]
) -> tuple[Trial, dict[str, Any]]:
    """Return the next trial and its choices, the same that `study.ask` would draw.

    `storage` is the study's own and holds no other. Optuna asks itself where a trial was enqueued,
    and where a pruner of several rungs shows the sampler a part of the study alone.
    """
    is_enqueued = bool(study.get_trials(deepcopy=False, states=WAITING))
    if is_enqueued or isinstance(study.pruner, HyperbandPruner):
        trial = study.ask(dict(distributions))
        return trial, trial.params
    trial = study.ask()
    drawn = trial.relative_params  # of the choices that a sampler draws together
    choices: dict[str, Any] = {}
    for name, offered in distributions.items():
        if name in drawn:
            value = drawn[name]
        else:
            begun = storage.get_trial(trial.number)
            value = study.sampler.sample_independent(study, begun, name, offered)
        code = offered.to_internal_repr(value)
        storage.set_trial_param(trial.number, name, code, offered)
        choices[name] = value
    return trial, choices
