"""The journal of a run: every finished trial of its studies, in Optuna's own file format."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, create_trial

from nas.errors import NasError, shown
from nas.locks import claimed
from nas.objective import Direction
from nas.search.storage import FINISHED


class _Written(BaseJournalBackend):
    """What is in the file: one JSON record a line; a last one that is being written is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        with self._path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number >= log_number_from and line.endswith("\n"):
                    yield _record(line, f"{self._path}, line {number + 1}")

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        raise NotImplementedError


class _Lines(_Written):
    """The file, appended to and flushed; held by one process at a time.

    A record is with the system once `append_logs` returns, so that a killed process loses none;
    only a loss of power may.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = _open_alone(path)

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        try:
            for log in logs:
                self._file.write(json.dumps(log, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise NasError(
                f"{self._path} cannot be written: {error.strerror}. The trials in it are kept. "
                "Make room and run the same command again to go on."
            ) from error

    def close(self) -> None:
        with suppress(OSError):  # a record that could not be written: its trial has not finished
            self._file.close()


def _open_alone(path: Path) -> IO[bytes]:
    file = path.open("ab")
    if not claimed(file.fileno()):
        file.close()
        raise NasError(
            f"{path} is being written by another search. Wait for it, or choose another "
            "hydra.run.dir=."
        )
    _cut_torn_line(path)
    return file


def _cut_torn_line(path: Path) -> None:
    # A process killed while it wrote leaves half a record, of a trial that had not finished.
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NasError(
            f"{where} is not a record of the journal. Restore the file, or start a new run folder."
        ) from error
    if not isinstance(record, dict) or "op_code" not in record:
        raise NasError(f"{where} is not a record of the journal. Start a new run folder.")
    return record


def read_trials(path: Path, study: str) -> list[FrozenTrial]:
    """Return the finished trials of a study, also while a search is adding to them.

    Raises:
        NasError: there is no such file or study, or a record is broken.
    """
    try:
        opened = optuna.load_study(storage=_replayed(_Written(path), path), study_name=study)
        return opened.get_trials(deepcopy=False, states=FINISHED)
    except (NasError, OSError):
        raise
    except KeyError as error:
        raise NasError(f"{path} has no study {shown(study)}. Check the run folder.") from error
    except Exception as error:  # as it is replayed
        raise _unreplayable(path, error) from error


def _replayed(lines: BaseJournalBackend, path: Path) -> JournalStorage:
    try:
        return JournalStorage(lines)
    except (NasError, OSError):
        raise
    except Exception as error:  # Optuna's replay trusts every field of every record
        raise _unreplayable(path, error) from error


class Journal:
    """Appends finished trials whole: one short write a trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = _Lines(path)
        try:
            self._storage: JournalStorage | None = _replayed(self._lines, path)
        except (NasError, OSError):
            self._lines.close()
            raise
        self._studies: dict[str, tuple[int, Sequence[Direction]]] = {}
        self._templates: dict[str, dict[str, Any]] = {}
        self._n_trials: dict[str, int] = {}

    def trials(self, study: str, directions: Sequence[Direction]) -> list[FrozenTrial]:
        """Return the finished trials of a study, which is made when it does not exist yet.

        Raises:
            NasError: the study exists with other directions.
        """
        try:
            self._storage = self._storage or _replayed(self._lines, self.path)
            opened = optuna.create_study(
                storage=self._storage,
                study_name=study,
                directions=list(directions),
                load_if_exists=True,
            )
            kept = [direction.name.lower() for direction in opened.directions]
            found = opened.get_trials(deepcopy=False, states=FINISHED)
            number = self._storage.get_study_id_from_name(study)
        except (NasError, OSError):
            raise
        except Exception as error:  # as it is replayed
            raise _unreplayable(self.path, error) from error
        if kept != list(directions):
            raise NasError(
                f"study {study} of this run folder is to {', '.join(kept)}, not to "
                f"{', '.join(directions)}. Choose another hydra.run.dir=."
            )
        self._studies[study] = number, directions
        self._n_trials[study] = len(found)
        return found

    def add(
        self, study: str, trial: FrozenTrial, user_attrs: Mapping[str, Any], started: datetime
    ) -> int:
        """Append a trial that has ended in memory, and return its number.

        Optuna makes a record of the first of a session; all are that one with their own figures,
        as most of Optuna's time goes into writing the same distributions again.
        """
        self._storage = None  # it has all trials before, 15 KB each, and nobody reads them again
        if study not in self._templates:
            number, directions = self._studies[study]
            self._templates[study] = _by_optuna(trial, directions) | {"study_id": number}
        values = trial.values
        is_single = values is not None and len(values) == 1
        record = self._templates[study] | {
            "datetime_start": _timestamp(started),
            "datetime_complete": _timestamp(datetime.now(UTC)),
            "state": int(trial.state),
            "value": values[0] if values and is_single else None,
            "values": None if is_single else values,
            "params": {
                name: trial.distributions[name].to_internal_repr(value)
                for name, value in trial.params.items()
            },
            "user_attrs": dict(user_attrs),
            "system_attrs": trial.system_attrs,
            "intermediate_values": trial.intermediate_values,
        }
        self._lines.append_logs([record])
        self._n_trials[study] += 1
        return self._n_trials[study] - 1

    def news(self, study: str) -> list[FrozenTrial]:
        """Return nothing: the file is this process's alone."""
        return []

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._lines.close()


class _InMemory(BaseJournalBackend):
    """A journal that is no file."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        self.logs += logs


def _by_optuna(trial: FrozenTrial, directions: Sequence[Direction]) -> dict[str, Any]:
    """Return the record that Optuna writes of a trial, in a file of one study."""
    lines = _InMemory()
    study = optuna.create_study(storage=JournalStorage(lines), directions=list(directions))
    whole = create_trial(  # with times, which a trial in memory lacks
        state=trial.state,
        values=trial.values,
        params=trial.params,
        distributions=trial.distributions,
    )
    study.add_trial(whole)
    return lines.logs[-1]


def _unreplayable(path: Path, error: Exception) -> NasError:
    return NasError(f"{path} cannot be replayed: {shown(error)}. Start a new run folder.")


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
