"""Repeating a trial: from the run folder alone, with all that changed named, and nothing run."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import Ended, Enter

from nas.errors import NasError
from nas.paths import SHIPPED
from nas.search.__main__ import main
from nas.search.replay import RunRecord, with_recorded_choices

WORDS = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "n_trials=8", "table=mine.csv")
RECIPE = ("proxy.recipe.epochs=3", "proxy.recipe.n_images=200", "proxy.recipe.resolution=8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table and the run of a short search."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(SHIPPED / "latency_tables/pixel_cpu.csv", folder / "mine.csv")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["nas", *WORDS, "hydra.run.dir=run"])
        main()
    assert not ended.value.code
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of it to break."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def replay(enter: Enter) -> Callable[..., Ended]:
    def run(*words: str) -> Ended:
        done = enter(main, "replay=run", "trial=5", "hydra.run.dir=again", *words)
        assert "Traceback" not in done.stderr
        return done

    return run


def change(folder: Path, **values: Any) -> None:
    path = folder / "run/environment.json"
    content = json.loads(path.read_text())
    for name, value in values.items():
        *groups, last = name.split("__")
        node = content
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    path.write_text(json.dumps(content))


def test_a_trial_repeats_from_its_run_folder(folder: Path, replay: Callable[..., Ended]) -> None:
    done = replay()
    assert (done.returncode, done.stderr) == (0, "")
    assert "the trial repeats" in done.stdout
    assert "changed" not in done.stdout
    (figures,) = json.loads((folder / "again/replay.json").read_text())["studies"].values()
    row = next(
        row
        for row in csv.DictReader((folder / "run/trials.csv").read_text().splitlines())
        if row["trial"] == "5"
    )
    for name, column in (("ms", "ms"), ("top1", "top1"), ("value 0", "reward")):
        assert figures[name]["repeated"] == pytest.approx(float(row[column]), abs=1e-4)
        assert figures[name]["repeated"] == figures[name]["recorded"]
    assert figures["key"] == {"recorded": row["key"], "repeated": row["key"]}


@pytest.mark.slow
def test_a_table_that_changed_is_named_and_shows(
    folder: Path, replay: Callable[..., Ended]
) -> None:
    lines = (folder / "mine.csv").read_text().splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("op,"))
    column = lines[header].split(",").index("ms")
    for number in range(header + 1, len(lines)):
        cells = lines[number].split(",")
        cells[column] = str(2 * float(cells[column]))
        lines[number] = ",".join(cells)
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    change(folder, options__target_ms=1.2)
    done = replay()
    assert done.returncode == 1
    assert "changed: table_hash is" in done.stdout
    assert "the trial does not repeat" in done.stdout
    (figures,) = json.loads((folder / "again/replay.json").read_text())["studies"].values()
    ms = figures["ms"]
    assert ms["repeated"] == pytest.approx(2 * ms["recorded"], rel=1e-6)
    assert figures["top1"]["repeated"] == figures["top1"]["recorded"]


@pytest.mark.slow
def test_a_figure_that_was_written_over_differs(folder: Path, replay: Callable[..., Ended]) -> None:
    journal = folder / "run/study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    record = json.loads(lines[-3])  # of trial 5
    record["user_attrs"]["top1"] += 0.001
    lines[-3] = json.dumps(record) + "\n"
    journal.write_text("".join(lines))
    done = replay()
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines() if "differs" in line] == ["top1"]


@pytest.mark.slow
def test_other_versions_are_told(folder: Path, replay: Callable[..., Ended]) -> None:
    earlier = {"python": "2.7", "packages": {"torch": "0.1"}}
    change(folder, packages__optuna="0.0.1", search__surrogate_hash="0", earlier=[earlier])
    done = replay()
    assert done.returncode == 0
    for words in ("optuna is", "but was 0.0.1", "but was 2.7", "torch is", "surrogate_hash is"):
        assert words in done.stdout


OPTIONS: dict[str, Any] = {
    "hardware": {"name": "pixel_cpu", "table": "pixel_cpu"},
    "proxy": {"_target_": "a.Proxy", "n_train": 5, "folder": "here", "device": "cpu"},
    "data": None,
    "target_ms": 0.6,
    "storage": None,
    "storage_wait_s": 60.0,
    "replay": None,
    "trial": None,
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a folder with what a run tells of itself, and nothing else."""
    content = {"choices": {"hardware": "pixel_cpu", "proxy": "guided"}, "search": {"seed": 0}}
    (tmp_path / "run").mkdir()
    path = tmp_path / "run/environment.json"
    path.write_text(json.dumps({**content, "options": deepcopy(OPTIONS)}))
    return tmp_path


def test_recorded_options_come_before_those_of_the_config(written: Path) -> None:
    own = {"_target_": "a.Proxy", "n_train": 9, "folder": "mine", "device": "cuda", "new": 1}
    now = OPTIONS | {"proxy": own, "target_ms": 2.0, "replay": "run", "trial": 5}
    change(written, options__proxy__folder="elsewhere", options__proxy__device="cuda:9")
    change(written, options__storage="postgresql://elsewhere/nas")
    merged = RunRecord.read(written / "run").over(now)
    # Where things lie, and on what they run, is not for a run folder to say.
    proxy = {"_target_": "a.Proxy", "n_train": 5, "folder": "mine", "device": "cuda"}
    assert merged == OPTIONS | {"proxy": proxy, "replay": "run", "trial": 5}


def test_what_is_made_stays_when_a_run_does_not_say(written: Path) -> None:
    change(written, options__proxy={"n_train": 7})
    proxy = RunRecord.read(written / "run").over(OPTIONS)["proxy"]
    assert (proxy["_target_"], proxy["n_train"]) == ("a.Proxy", 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"options__proxy___target_": "os.system"}, "'os.system' where .* 'a.Proxy'. A run folder"),
        ({"options__data": {"_target_": "os.system"}}, "'os.system' where the config has None"),
        ({"options__data": [{"_target_": "os.system"}]}, "'os.system' where the config has None"),
        ({"options__proxy___args_": ["touch"]}, "_args_ .*may not choose what is made"),
        ({"options__hardware__name": "${oc.env:HOME}"}, "may hold no interpolation"),
        ({"choices__proxy": "../../evil"}, r"cannot have chosen 'proxy'='\.\./\.\./evil'"),
        ({"choices__proxy": "a b._target_=c"}, "cannot have chosen 'proxy'="),
        ({"choices__hydra/launcher": "x"}, "cannot have chosen 'hydra/launcher'"),
        ({"options": 3}, "options of .*environment.json must hold"),
        ({"options__proxy": 3}, "proxy of .*environment.json must hold"),
        ({"search": []}, "search of .*environment.json must hold"),
        ({"earlier": 3}, "must be a list"),
        ({"earlier": [3]}, "earlier of .*environment.json must hold"),
    ],
)
def test_a_hostile_run_folder_is_refused(
    written: Path, values: dict[str, Any], message: str
) -> None:
    change(written, **values)
    with pytest.raises(NasError, match=message):
        RunRecord.read(written / "run").over(OPTIONS)


def test_choices_of_the_run_are_added_to_the_command_line(written: Path) -> None:
    words = [f"replay={written}/run", "trial=5"]
    assert with_recorded_choices(words) == [*words, "+hardware=pixel_cpu", "proxy=guided"]
    assert with_recorded_choices([*words, "proxy=mine"])[2:] == [
        "proxy=mine",
        "+hardware=pixel_cpu",
    ]
    assert with_recorded_choices(["replay=none"]) == ["replay=none"]
    assert with_recorded_choices(["n_trials=5"]) == ["n_trials=5"]


def test_a_run_of_before_is_told(written: Path) -> None:
    (written / "run/environment.json").write_text('{"search": {}}')
    with pytest.raises(NasError, match="was written before trials could be repeated"):
        RunRecord.read(written / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trial=99",), "has no trial 99: they go from 0 to 7"),
        (("trial=-1",), "trial= must be the number of a trial"),
        (("trial=null",), "trial= must be the number of a trial"),
        (("replay=none",), "none/environment.json cannot be read"),
    ],
)
def test_a_trial_that_is_not_there_is_told(
    folder: Path, enter: Enter, words: tuple[str, ...], message: str
) -> None:
    given = {word.partition("=")[0]: word for word in ("replay=run", "trial=5", *words)}
    done = enter(main, *given.values(), "hydra.run.dir=again")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.slow
def test_a_shared_study_repeats_as_well(tmp_path: Path, enter: Enter) -> None:
    words = [word for word in WORDS if not word.startswith("table")]
    storage = f"storage=sqlite:///{tmp_path}/shared.db"
    for name, n_trials in (("one", 3), ("two", 5)):
        done = enter(main, *words, storage, f"n_trials={n_trials}", f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
    again = ("replay=one", "trial=4", "hydra.run.dir=again")  # a trial of the other
    done = enter(main, *again)
    assert done.returncode == 2
    assert f"sqlite:///{tmp_path}/shared.db. If you trust it, add storage=" in done.stderr
    done = enter(main, *again, storage)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny, trial 4" in done.stdout


@pytest.mark.slow
def test_trainings_are_repeated_and_not_looked_up(tmp_path: Path, enter: Enter) -> None:
    words = ("proxy=short_train", "data=digits", "pruner=successive_halving", *RECIPE)
    searched = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "n_trials=6")
    assert enter(main, *searched, *words, "hydra.run.dir=run").returncode == 0
    rows = list(csv.DictReader((tmp_path / "run/trials.csv").read_text().splitlines()))
    store = tmp_path / "runs/trained/results.jsonl"
    store.rename(store.with_name("away"))
    for state in ("complete", "pruned"):
        number = next(row["trial"] for row in rows if row["state"] == state)
        done = enter(main, "replay=run", f"trial={number}", "hydra.run.dir=again")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        (figures,) = json.loads((tmp_path / "again/replay.json").read_text())["studies"].values()
        assert figures["state"] == {"recorded": state, "repeated": state}
        assert figures["top1"]["repeated"] == figures["top1"]["recorded"] > 0
    assert not store.exists() or not store.read_text()
