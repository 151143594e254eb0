"""The search command with several processes: what they find, and what their faults cost."""

import csv
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest
from conftest import Enter
from faulty_proxy import FAULTS, fault_of, top1_of
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nas.search.__main__ import main

pytestmark = pytest.mark.slow
TINY = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6")
TRAINED = (
    "data=digits",
    "proxy=short_train",
    "proxy.recipe.epochs=1",
    "proxy.recipe.n_images=100",
    "proxy.recipe.resolution=8",
)


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))


def write_proxy(folder: Path, text: str) -> None:
    (folder / "conf/proxy").mkdir(parents=True)
    target = "_target_: faulty_proxy.FaultyProxy\n"
    (folder / "conf/proxy/faulty.yaml").write_text(target + text)


def test_one_process_finds_what_this_process_finds(enter: Enter, tmp_path: Path) -> None:
    for name, words in {"local": (), "processes": ("workers.n=1",)}.items():
        folders = (f"hydra.run.dir={name}", f"proxy.folder={name}_trained")
        done = enter(main, *TINY, *TRAINED, "n_trials=3", *folders, f"workers={name}", *words)
        assert done.returncode == 0, done.stderr
        assert len((tmp_path / f"{name}_trained/results.jsonl").read_text().splitlines()) == 3
    local, processes = (rows(tmp_path / name) for name in ("local", "processes"))
    for row in (*local, *processes):
        assert float(row.pop("seconds")) > 0
    assert processes == local
    assert len(local) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited there alone")
def test_faults_cost_their_trials_alone_and_say_why(enter: Enter, tmp_path: Path) -> None:
    write_proxy(tmp_path, "share: 0.4\nfaults: [raises, nan, hangs, dies, eats]\n")
    limits = ("workers.timeout_s=0.5", "workers.memory_mib=1024", "workers.n=2")
    done = enter(
        main,
        *TINY,
        "proxy=faulty",
        "workers=processes",
        *limits,
        "n_trials=40",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "run")
    assert len(found) == 40
    seen = Counter[str]()
    for row in found:
        fault = fault_of(row["key"], list(FAULTS), 0.4)
        seen[fault] += 1
        if fault:
            assert row["state"] == "failed"
            assert FAULTS[fault] in row["reason"]
        else:
            assert (row["state"], row["reason"]) == ("complete", "")
            assert float(row["top1"]) == pytest.approx(top1_of(row["key"]), abs=1e-4)
    assert set(seen) == {"", *FAULTS}
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "run/study.journal")))
    trials = optuna.load_study(storage=storage, study_name="tiny").trials
    assert [one.user_attrs["key"] for one in trials] == [row["key"] for row in found]
    for one, row in zip(trials, found, strict=True):
        assert (one.state == TrialState.FAIL) == (row["state"] == "failed")
        assert one.user_attrs.get("reason", "") == row["reason"]


def test_a_proxy_that_always_fails_ends_the_command(enter: Enter, tmp_path: Path) -> None:
    write_proxy(tmp_path, "share: 1.0\nfaults: [raises]\n")
    words = ("proxy=faulty", "workers=processes", "workers.n=2", "n_trials=40", "hydra.run.dir=run")
    done = enter(main, *TINY, *words)
    assert done.returncode == 2
    assert "ZeroDivisionError: by nothing" in done.stderr
    assert "workers: 2 processes (workers=processes)" in done.stdout
    assert [row["state"] for row in rows(tmp_path / "run")] == ["failed"] * 4
