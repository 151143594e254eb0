"""The journal: Optuna's own reader is the truth for every record that we write ourselves."""

import errno
import gc
import io
import os
import subprocess
import sys
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.errors import NasError
from nas.search.journal import Journal

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "kernel": CategoricalDistribution((3, 5)),
    "act": CategoricalDistribution(("relu", "hswish")),
}


def trial(number: int, values: list[float], is_pruned: bool = False) -> FrozenTrial:
    """Return a finished trial as Optuna makes it."""
    return create_trial(
        state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
        values=values,
        params={"kernel": 3 + 2 * (number % 2), "act": "hswish"},
        distributions=DISTRIBUTIONS,
        user_attrs=attributes(number),
        intermediate_values={1: 0.5 * number, 2: values[0]} if is_pruned else None,
        constraints={"target_ms": number - 1.0},
    )


def attributes(number: int) -> dict[str, Any]:
    return {"key": f"net{number}", "ms": 1.5 * number}


def write(journal: Journal, number: int, values: list[float], study: str = "large") -> None:
    journal.add(study, trial(number, values), attributes(number), datetime.now(UTC))


def read_by_optuna(path: Path, study: str = "large") -> optuna.Study:
    return optuna.load_study(
        storage=JournalStorage(JournalFileBackend(str(path))), study_name=study
    )


@pytest.mark.parametrize(
    ("values", "pruned"),
    [([1.0], set()), ([1.0], {0}), ([1.0], {1, 2}), ([1.0, 2.0], set())],
)
def test_optuna_reads_the_records_that_it_would_have_written(
    tmp_path: Path, values: list[float], pruned: set[int]
) -> None:
    journal = Journal(tmp_path / "study.journal")
    directions: list[optuna.study.StudyDirection] = [optuna.study.StudyDirection.MAXIMIZE]
    journal.trials("large", ["maximize"] * len(values))
    written = [
        trial(number, [value + number for value in values], number in pruned) for number in range(4)
    ]
    for number, one in enumerate(written):
        journal.add("large", one, attributes(number), datetime.now(UTC))
    journal.close()

    by_optuna = optuna.create_study(directions=directions * len(values))
    by_optuna.add_trials(written)
    for ours, theirs in zip(
        read_by_optuna(tmp_path / "study.journal").trials, by_optuna.trials, strict=True
    ):
        assert ours.number == theirs.number
        assert ours.state == theirs.state
        assert ours.values == theirs.values
        assert ours.params == theirs.params
        assert ours.distributions == theirs.distributions
        assert ours.user_attrs == theirs.user_attrs
        assert ours.intermediate_values == theirs.intermediate_values
        assert ours.constraints == theirs.constraints
        assert ours.datetime_start is not None
        assert ours.datetime_complete is not None
        assert ours.datetime_start <= ours.datetime_complete


def test_studies_share_a_file_and_go_on_from_it(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    for session in range(3):
        journal = Journal(path)
        for study in ("large", "small"):
            kept = journal.trials(study, ["maximize"])
            assert [trial.user_attrs["key"] for trial in kept] == [
                f"net{number}" for number in range(session * 2)
            ]
        for number in (0, 1):
            write(journal, session * 2 + number, [float(number)], "large")
            write(journal, session * 2 + number, [float(number)], "small")
        journal.close()
    assert len(read_by_optuna(path, "small").trials) == 6


def test_trials_that_were_read_are_let_go_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.trials("large", ["maximize"])
    write(journal, 0, [1.0])
    journal.close()
    journal = Journal(path)
    found = journal.trials("large", ["maximize"])
    read = weakref.ref(found.pop())
    write(journal, 1, [1.0])
    gc.collect()
    assert read() is None
    assert [trial.number for trial in journal.trials("large", ["maximize"])] == [0, 1]
    write(journal, 2, [1.0])
    journal.close()
    assert [trial.number for trial in read_by_optuna(path).trials] == [0, 1, 2]


def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.trials("large", ["maximize"])
    write(journal, 0, [1.0])
    write(journal, 1, [1.0])
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    journal = Journal(path)
    assert len(journal.trials("large", ["maximize"])) == 1
    write(journal, 1, [1.0])
    journal.close()
    assert len(read_by_optuna(path).trials) == 2


@pytest.mark.parametrize(
    "content",
    [
        "not json\n",
        "[1]\n",
        '{"a": 1}\n',
        '{"op_code": 4}\n',
        '{"op_code": 99}\n',
        "\xff" * 9999 + "\n",
    ],
)
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(NasError, match="run folder") as raised:
        Journal(path)
    assert len(str(raised.value)) < 500


def test_a_full_disk_keeps_the_finished_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.trials("large", ["maximize"])
    write(journal, 0, [1.0])
    with monkeypatch.context() as patch:
        patch.setattr(journal._lines, "_file", Full())
        with pytest.raises(NasError, match=r"No space left.*kept.*same command again"):
            write(journal, 1, [1.0])
    journal.close()
    journal = Journal(path)
    assert len(journal.trials("large", ["maximize"])) == 1
    journal.close()


def test_other_directions_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.journal")
    journal.trials("large", ["maximize"])
    with pytest.raises(NasError, match="is to maximize, not to maximize, minimize"):
        journal.trials("large", ["maximize", "minimize"])
    journal.close()


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_a_second_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.journal")
    code = (
        "import sys; from pathlib import Path; from nas.search.journal import Journal\n"
        "Journal(Path(sys.argv[1]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "study.journal")],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert other.returncode == 1
    assert "being written by another search" in other.stderr
    journal.close()
