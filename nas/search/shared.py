"""Studies that several commands share: each keeps its trials in a journal of its own first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, create_trial

from nas.errors import NasError
from nas.objective import Direction
from nas.search.connection import Connection
from nas.search.identity import digest
from nas.search.journal import Journal
from nas.search.storage import FINISHED

_IDENTITY = "search "


@dataclass
class _Known:
    """What this command knows of a study: its trials' numbers by id, and what it has not told."""

    study: Study
    n_own: int
    numbers: dict[str, int] = field(default_factory=dict)
    news: list[FrozenTrial] = field(default_factory=list)

    def read(self) -> None:
        """Take in the trials that were added since; of two with one id the first counts."""
        for trial in self.study.get_trials(deepcopy=False, states=FINISHED):
            name = str(trial.user_attrs.get("id", f"number {trial.number}"))
            if name not in self.numbers:
                self.numbers[name] = trial.number
                self.news.append(trial)


class SharedStudies:
    """Keeps trials in the journal of the run, then in the studies of all commands.

    A trial has an id, `<run>-<number in the run>`, so that one whose writing was cut short is
    looked for before it is written again. What a killed command had in its journal alone is written
    when it goes on.

    Args:
        name: of the studies: `<name>-<target>`.
        identity: what the commands that share them have in common, see `nas.search.identity`.
        run: this command's id, kept with its run folder.
        wait_s: seconds that an outage may last.
        say: told of an outage and its end.
    """

    def __init__(
        self,
        connection: Connection,
        journal: Journal,
        *,
        name: str,
        identity: Mapping[str, Any],
        run: str,
        wait_s: float = 60.0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._connection = connection
        self._journal = journal
        self._name = name
        self._identity = dict(identity)
        self._run = run
        self._wait_s = wait_s
        self._say = say
        self._studies: dict[str, _Known] = {}

    def trials(self, study: str, directions: Sequence[Direction]) -> list[FrozenTrial]:
        """Return the finished trials of all commands, by number.

        Raises:
            NasError: the study is of another search, or the storage is away.
        """
        own = self._journal.trials(study, directions)
        opened = self._patiently(lambda: self._opened(study, directions))
        known = self._studies[study] = _Known(study=opened, n_own=len(own))
        self._patiently(known.read)
        for trial in own:
            if trial.user_attrs.get("id") not in known.numbers:
                self._send(known, trial)
        found, known.news = known.news, []
        return sorted(found, key=lambda trial: trial.number)

    def add(
        self, study: str, trial: FrozenTrial, user_attrs: Mapping[str, Any], started: datetime
    ) -> int:
        """Keep a trial in the journal, then in the study, and return its number there.

        Raises:
            NasError: the disk is full, or the storage stays away; the journal has the trial.
        """
        known = self._studies[study]
        attributes = {**user_attrs, "id": f"{self._run}-{known.n_own}"}
        self._journal.add(study, trial, attributes, started)
        known.n_own += 1
        whole = create_trial(
            state=trial.state,
            values=trial.values,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attributes,
            system_attrs=trial.system_attrs,
            intermediate_values=trial.intermediate_values,
        )
        whole.datetime_start = started.astimezone().replace(tzinfo=None)  # as Optuna's own are
        number = self._send(known, whole)
        known.news = [one for one in known.news if one.number != number]
        return number

    def news(self, study: str) -> list[FrozenTrial]:
        """Return what others have added.

        Raises:
            NasError: the storage stays away.
        """
        known = self._studies[study]
        self._patiently(known.read)
        found, known.news = known.news, []
        return found

    def close(self) -> None:
        """Close the connection and the journal."""
        self._journal.close()
        self._connection.close()

    def _send(self, known: _Known, trial: FrozenTrial) -> int:
        name = str(trial.user_attrs["id"])
        has_failed = False

        def write() -> None:
            nonlocal has_failed
            if has_failed:  # it may have been written, and the answer been lost
                known.read()
            has_failed = True
            if name not in known.numbers:
                known.study.add_trial(trial)
                known.read()

        self._patiently(write)
        return known.numbers[name]

    def _opened(self, study: str, directions: Sequence[Direction]) -> Study:
        name = f"{self._name}-{study}"
        opened = optuna.create_study(
            storage=self._connection.storage,
            study_name=name,
            directions=list(directions),
            load_if_exists=True,
        )
        kept = [direction.name.lower() for direction in opened.directions]
        if kept != list(directions):
            raise NasError(
                f"study {name} is to {', '.join(kept)}, not to {', '.join(directions)}. Choose "
                "another study=."
            )
        self._check_same_search(opened)
        return opened

    def _check_same_search(self, opened: Study) -> None:
        # Each search writes under a key of its own: of two that start at once, none is overwritten.
        own = _IDENTITY + digest(self._identity)
        if own not in opened.user_attrs and not _searches(opened) and not opened.trials:
            opened.set_user_attr(own, self._identity)
        others = [one for key, one in _searches(opened).items() if key != own]
        for other in others:
            name = next((n for n in self._identity if other.get(n) != self._identity[n]), "key")
            raise NasError(
                f"study {opened.study_name} belongs to a search with {name} {other.get(name)}, "
                f"not {self._identity.get(name)}. Give the same options to share it, or another "
                "study=."
            )
        if own not in opened.user_attrs:
            raise NasError(
                f"study {opened.study_name} was not made by nas.search. Choose another study=."
            )

    def _patiently(self, task: Callable[[], Any]) -> Any:
        try:
            return self._connection.patiently(task, self._wait_s, self._say)
        except NasError as error:
            if error.__cause__ is None:
                raise
            raise NasError(
                f"{error} What has finished is kept in {self._journal.path}; run the same command "
                f"with hydra.run.dir={self._journal.path.parent} to go on."
            ) from error


def _searches(opened: Study) -> dict[str, dict[str, Any]]:
    return {
        key: dict(value)
        for key, value in opened.user_attrs.items()
        if key.startswith(_IDENTITY) and isinstance(value, dict)
    }
