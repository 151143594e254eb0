"""The run folder: what each file holds, what may be continued, and what a full disk leaves."""

import csv
import errno
import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch import Arch
from nas.candidate import Candidate
from nas.cost import count_macs
from nas.errors import NasError
from nas.paths import PACKAGE
from nas.results import (
    COMPARISON_COLUMNS,
    TRIAL_COLUMNS,
    RunFolder,
    environment,
    file_hash,
    first_difference,
)
from nas.space import SearchSpace

IDENTITY = {"seed": 0, "table": "pixel_cpu", "targets_ms": {"large": 1.5}}
FACTS = {"hardware": "pixel_cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Return a new run folder."""
    return RunFolder(tmp_path / "run")


def trial(number: int, **figures: Any) -> dict[str, Any]:
    return dict.fromkeys(TRIAL_COLUMNS, "") | {"study": "large", "trial": number} | figures


def trials_of(folder: RunFolder) -> list[dict[str, str]]:
    return read(folder.trials)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def candidate(name: str, group: str, published: float | None) -> Candidate:
    arch = Arch.load("mobilenet_v3_small")
    return Candidate(
        name=name,
        group=group,
        study="" if group == "baseline" else name,
        arch=arch,
        top1=67.123456789,
        top1_std=0.5,
        layer_ms=tuple(0.1 * (index + 1) for index in range(len(arch.layers))),
        published_top1=published,
    )


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a/b/run")
    assert (folder.path / "winners/pareto").is_dir()
    assert folder.winner_file("large") == folder.path / "winners/large.yaml"
    RunFolder(folder.path)


def test_a_file_cannot_be_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(NasError, match=r"run cannot be a run folder: .*hydra\.run\.dir="):
        RunFolder(tmp_path / "run")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_cannot_be_a_run_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(NasError, match="Permission denied"):
            RunFolder(tmp_path / "run")
    finally:
        tmp_path.chmod(0o755)


def test_environment_says_what_runs() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["command"] == sys.argv
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["optuna"] == metadata.version("optuna")
    shown = subprocess.run(
        ["git", "-C", str(PACKAGE), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found["git_commit"] == (shown.stdout.strip() or None)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert environment()["git_commit"] is None


def test_environment_is_written_with_facts_and_identity(folder: RunFolder) -> None:
    folder.write_environment(IDENTITY, FACTS)
    content = json.loads(folder.environment.read_text())
    assert content["search"] == IDENTITY
    assert content["hardware"] == "pixel_cpu"
    assert content["python"] == platform.python_version()


def test_the_same_search_goes_on(folder: RunFolder) -> None:
    folder.check_same_search(IDENTITY)
    folder.write_environment(IDENTITY, FACTS)
    folder.journal.write_text("")
    folder.check_same_search(IDENTITY)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1), ("table", None), ("targets_ms", {}), ("sampler", "tpe")]
)
def test_another_search_is_refused(folder: RunFolder, name: str, value: object) -> None:
    folder.write_environment(IDENTITY, FACTS)
    with pytest.raises(NasError, match=rf"holds a search with {name} .*not .*hydra\.run\.dir="):
        folder.check_same_search({**IDENTITY, name: value})


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (1, 2, ("1", "2")),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ("b 2", "b 3")),
        ({"a": {"x": 1, "y": [1]}}, {"a": {"x": 1, "y": [2]}}, ("a y [1]", "a y [2]")),
        ({"a": {"x": 1}}, {"a": None}, ("a {'x': 1}", "a None")),
        ({"a": 1}, {}, ("a 1", "without a")),
        ({}, {"a": None}, ("without a", "a None")),
    ],
)
def test_the_first_difference_is_told_down_to_the_innermost(
    before: object, now: object, told: tuple[str, str]
) -> None:
    assert first_difference(before, now) == told


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 10**5, "\0", '{"search": NaN}', "{}", '{"search": 5}']
)
def test_a_damaged_environment_is_named(folder: RunFolder, text: str) -> None:
    folder.environment.write_text(text)
    with pytest.raises(NasError, match=r"run"):
        folder.check_same_search(IDENTITY)


def test_a_journal_without_its_environment_is_refused(folder: RunFolder) -> None:
    folder.journal.write_text("")
    folder.check_same_search(IDENTITY)
    folder.journal.write_text('{"op_code":0}\n')
    with pytest.raises(NasError, match=r"no environment\.json.*hydra\.run\.dir="):
        folder.check_same_search(IDENTITY)


def test_trials_are_on_disk_as_they_end(folder: RunFolder) -> None:
    trials = folder.open_trials([])
    for number in range(3):
        trials.add(trial(number, choices='{"a":"x, y"}'))
        assert [row["trial"] for row in trials_of(folder)] == [str(i) for i in range(number + 1)]
    trials.close()
    assert tuple(trials_of(folder)[0]) == TRIAL_COLUMNS
    assert trials_of(folder)[0]["choices"] == '{"a":"x, y"}'


def test_trials_are_written_again_when_a_run_goes_on(folder: RunFolder) -> None:
    folder.trials.write_bytes(b"torn\xff\0")
    trials = folder.open_trials([trial(0), trial(1)])
    trials.add(trial(2))
    trials.close()
    assert [row["trial"] for row in trials_of(folder)] == ["0", "1", "2"]


def test_comparison_says_what_the_candidates_say(folder: RunFolder) -> None:
    winner, baseline = candidate("large", "winner", None), candidate("v3, old", "baseline", 67.4)
    folder.write_comparison([winner, baseline])
    rows = read(folder.comparison)
    assert [tuple(row) for row in rows] == [COMPARISON_COLUMNS] * 2
    n_layers = len(winner.arch.layers)
    for row, one in zip(rows, (winner, baseline), strict=True):
        assert (row["name"], row["group"], row["study"]) == (one.name, one.group, one.study)
        assert float(row["ms"]) == pytest.approx(0.1 * n_layers * (n_layers + 1) / 2, rel=1e-5)
        assert (row["top1"], row["top1_std"]) == ("67.1235", "0.5")
        assert int(row["macs"]) == count_macs(one.arch)
        assert row["key"] == one.arch.key()
    assert [row["published_top1"] for row in rows] == ["", "67.4"]
    assert [row["file"] for row in rows] == ["winners/large.yaml", ""]


def test_a_new_front_replaces_the_old_one_of_its_study(folder: RunFolder) -> None:
    space = SearchSpace.load("tiny")
    archs = [space.random(seed) for seed in range(3)]
    folder.save_front("large", archs)
    folder.save_front("small", archs[:1])
    folder.save_front("large", archs[1:])
    files = sorted((folder.winners / "pareto").iterdir())
    assert [file.name for file in files] == ["large_001.yaml", "large_002.yaml", "small_001.yaml"]
    assert [Arch.load(file).key() for file in files] == [archs[i].key() for i in (1, 2, 0)]


def test_file_hash_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ä\n", encoding="utf-8")
    assert file_hash(tmp_path / "a") == hashlib.sha256("ä\n".encode()).hexdigest()[:16]


def test_a_full_disk_leaves_the_old_files(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_environment(IDENTITY, FACTS)
    folder.write_comparison([candidate("large", "winner", None)])
    before = {path: path.read_bytes() for path in (folder.environment, folder.comparison)}

    def full(path: Path, text: str, **_: object) -> int:
        with path.open("w") as file:
            file.write(text[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    for write in (
        lambda: folder.write_environment({}, {}),
        lambda: folder.write_comparison([]),
        lambda: folder.open_trials([trial(0)]),
    ):
        with pytest.raises(NasError, match=r"cannot be written: No space left.*Make room"):
            write()
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "comparison.csv",
        "environment.json",
        "winners",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_trial_that_finds_no_room_is_one_screen(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.results.write_text", lambda path, text: None)
    folder.trials.symlink_to("/dev/full")
    trials = folder.open_trials([])
    with pytest.raises(NasError, match=r"trials\.csv cannot be written: No space left.*go on"):
        trials.add(trial(0))
    trials.close()
