"""`python -m nas.fidelity`: tables, trained networks, interruptions and wrong options."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Enter
from scipy.stats import kendalltau

from nas.arch import Arch
from nas.cost import count_params
from nas.fidelity.__main__ import main
from nas.fidelity.selection import random_networks
from nas.fidelity.trained import FIRST_SEED
from nas.paths import names
from nas.proxies import short_train
from nas.space import SearchSpace
from nas.training.conditions import DivergedError
from nas.training.fit import OnEpoch, Training

TINY = SearchSpace.load("tiny")
BASELINES = names("search_spaces/baselines", ".yaml")
BENCH = Path(__file__).parents[2] / "shared/data/mnasnet_space_imagenet_accuracy.csv"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of 40 networks whose accuracy is the log of their parameters and noise."""
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["choices", "top1"])
        for _ in range(40):
            chosen = {name: rng.choice(values).item() for name, values in TINY.choices.items()}
            top1 = 5 * np.log(count_params(TINY.arch(chosen))) + rng.normal(0, 0.3)
            writer.writerow([json.dumps(chosen), f"{top1:.4f}"])
    return path


KNOWN = ("accuracies=mine.csv", "space=tiny")


def result(folder: Path) -> dict[str, Any]:
    [path] = folder.glob("runs/fidelity/*/fidelity.json")
    content: dict[str, Any] = json.loads(path.read_text())
    assert path.with_name("fidelity.html").read_text().startswith("<!DOCTYPE html>")
    return content


def test_a_proxy_is_judged_beside_madds_and_parameters(
    tmp_path: Path, table: Path, enter: Enter
) -> None:
    done = enter(main, *KNOWN, "proxy=surrogate", "n=30", "seed=3", "band=0.2")
    assert (done.returncode, done.stderr) == (0, "")
    content = result(tmp_path)
    networks = content["networks"]
    assert len(networks) == 30
    truth = [one["top1"] for one in networks]
    for name, column in (("surrogate", "score"), ("MAdds", "macs"), ("params", "params")):
        expected = kendalltau([one[column] for one in networks], truth).statistic
        found = content["all"]["scores"][name]["kendall"]
        assert found["value"] == pytest.approx(expected, abs=1e-6)
        assert f"{found['value']:.3f} [{found['low']:.2f}, {found['high']:.2f}]" in done.stdout
    assert content["all"]["scores"]["params"]["kendall"]["value"] > 0.8
    assert content["band"]["n"] == sum(one["is_in_band"] for one in networks)
    assert "surrogate on 30 networks of mine.csv" in done.stdout
    assert "MAdds stand in for latency" in done.stdout
    assert "fitted on" not in done.stdout
    assert max(map(len, done.stdout.splitlines()[:20])) <= 80


def test_the_same_command_gives_the_same_figures(tmp_path: Path, table: Path, enter: Enter) -> None:
    contents = []
    for folder in ("first", "second"):
        words = [*KNOWN, "n=20", "n_bootstrap=20", f"hydra.run.dir={folder}"]
        assert enter(main, *words).returncode == 0
        content = json.loads((tmp_path / folder / "fidelity.json").read_text())
        contents.append([content[key] for key in ("all", "networks")])
    assert contents[0] == contents[1]


def test_a_table_gives_the_band_in_ms(tmp_path: Path, table: Path, enter: Enter) -> None:
    done = enter(main, *KNOWN, "+hardware=pixel_cpu", "n=20", "n_band=4", "n_bootstrap=9")
    assert done.returncode == 0, done.stderr
    content = result(tmp_path)
    assert (content["band"]["table"], content["band"]["unit"]) == ("pixel_cpu", "ms")
    assert "stand in" not in done.stdout
    assert 20 < len(content["networks"]) <= 24
    assert content["all"]["n"] == 20


@pytest.mark.skipif(not BENCH.exists(), reason="needs the data beside the project")
@pytest.mark.slow
def test_what_a_proxy_was_fitted_on_is_no_test_of_it(tmp_path: Path, enter: Enter) -> None:
    done = enter(main, f"accuracies={BENCH}", "n=60", "n_bootstrap=10")
    assert done.returncode == 0, done.stderr
    assert "its figures here are no test of it" in " ".join(done.stdout.split())
    assert result(tmp_path)["facts"]["space"] == "mnasnet"


def test_guided_learns_from_some_rows_and_predicts_the_others(
    tmp_path: Path, table: Path, enter: Enter
) -> None:
    words = [
        *KNOWN,
        "proxy=guided",
        "proxy.n_train=12",
        "n_splits=2",
        "n_bootstrap=9",
    ]
    done = enter(main, *words)
    assert done.returncode == 0, done.stderr
    content = result(tmp_path)
    assert content["all"]["n"] == 28
    assert content["scores"]["guided"]["n_labels"] == 12
    assert content["all"]["scores"]["guided"]["kendall"]["value"] > 0.4
    assert "taught 12 of them in each of 2 splits" in done.stdout


class Counted:
    """Stands for `train_arch`: the top-1 follows from network and seed; stops where it is told."""

    def __init__(self) -> None:
        self.paid = list[tuple[str, int]]()
        self.stop_after = 10**6
        self.diverging = ""

    def __call__(
        self, arch: Arch, *rest: object, seed: int, on_epoch: OnEpoch, **options: object
    ) -> Training:
        if len(self.paid) == self.stop_after:
            raise KeyboardInterrupt
        self.paid.append((arch.key(), seed))
        if arch.key() == self.diverging:
            raise DivergedError("the loss must be a number, but was nan")
        noise = np.random.default_rng([int(arch.key(), 16), seed]).normal(0, 0.5)
        top1 = float(5 * np.log(count_params(arch)) + noise)
        return Training(top1=top1, history=(top1,), seconds=2.5, is_whole=True)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    made = Counted()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(short_train, "train_arch", made)
    return made


TRAINED = ("data=digits", "proxy=surrogate", "n=12", "n_bootstrap=20", "workers=local")


def test_networks_are_trained_as_often_as_asked(
    tmp_path: Path, counted: Counted, enter: Enter
) -> None:
    done = enter(main, *TRAINED, "repeats=2")
    assert done.returncode == 0, done.stderr
    content = result(tmp_path)
    keys = [arch.key() for arch in islice(random_networks(TINY, 0), 12)]
    assert counted.paid == [(key, FIRST_SEED + r) for r in range(2) for key in keys]
    assert content["seconds_of_a_training"] == 2.5
    assert 0 < content["all"]["repeatability"]["kendall"]["value"] < 1
    assert all(len(one["trainings"]) == 2 for one in content["networks"])
    assert "Two trainings of the same networks agree with Kendall" in done.stdout
    assert "training it 2.5 s" in done.stdout


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, counted: Counted, enter: Enter
) -> None:
    counted.stop_after = 7
    done = enter(main, *TRAINED)
    assert done.returncode == 130
    assert "Run the same command again to go on" in done.stderr
    counted.stop_after = 10**6
    assert enter(main, *TRAINED).returncode == 0
    assert len(counted.paid) == len(set(counted.paid)) == 12
    assert result(tmp_path)["all"]["n"] == 12


def test_a_network_that_cannot_be_trained_is_left_out(
    tmp_path: Path, counted: Counted, enter: Enter
) -> None:
    counted.diverging = next(islice(random_networks(TINY, 0), 4, None)).key()
    done = enter(main, *TRAINED)
    assert done.returncode == 0, done.stderr
    content = result(tmp_path)
    assert content["all"]["n"] == 11
    assert "must be a number, but was nan" in content["networks"][4]["left_out"]
    assert "1 of 12 networks are left out" in done.stdout


def test_training_is_judged_by_other_trainings(
    tmp_path: Path, counted: Counted, enter: Enter
) -> None:
    done = enter(main, *TRAINED, "proxy=short_train", "proxy.repeats=2")
    assert done.returncode == 0, done.stderr
    content = result(tmp_path)
    assert {seed for _, seed in counted.paid} == {0, 1, FIRST_SEED}
    assert content["scores"]["short_train"]["seconds"] == 5.0
    assert 0.5 < content["all"]["scores"]["short_train"]["kendall"]["value"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Add accuracies=<csv>, or data=digits"),
        (["accuracies=no.csv"], "no.csv cannot be read"),
        ([*KNOWN, "n=41"], "n must be at most 40"),
        ([*KNOWN, "band=0"], "band must be a share between 0 and 1"),
        (["accuracies=baselines.csv", "proxy=zero_cost"], "Add space=<name or file>"),
        (["accuracies=mine.csv"], "Add space=<name or file>"),
        ([*KNOWN, "proxy=guided", "proxy.n_train=31"], "Lower proxy.n_train"),
        ([*KNOWN, "proxy=short_train"], "trains on your data, but none is chosen"),
        ([*KNOWN, "proxy=surogate"], "Did you mean surrogate?"),
        ([*KNOWN, "table=no"], "unknown table or hardware for table: 'no'"),
        (["data=digits", "truth.recipe.epochs=0"], "recipe.epochs must be"),
        (["data=digits", "space=tinny"], "Did you mean tiny?"),
        (["data=digts"], "Did you mean digits?"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], message: str, table: Path, enter: Enter, counted: Counted
) -> None:
    rows = "".join(f"{name},{number + 60}\n" for number, name in enumerate(BASELINES))
    table.with_name("baselines.csv").write_text(f"arch,top1\n{rows}")
    done = enter(main, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert counted.paid == []


@pytest.mark.slow
def test_a_killed_run_repeats_no_training(tmp_path: Path) -> None:
    words = ["data=digits", "n=10", "n_bootstrap=10", "truth.recipe.epochs=1"]
    words += ["truth.recipe.n_images=64", "truth.recipe.resolution=8", "hydra.run.dir=run"]
    command = [sys.executable, "-m", "nas.fidelity", *words]
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    stored = tmp_path / "runs/trained/results.jsonl"
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if stored.exists() and stored.read_bytes().count(b"\n") >= 2:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
    before = stored.read_bytes()
    assert 2 <= before.count(b"\n") < 10
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert stored.read_bytes().startswith(before)
    names = [str(json.loads(line)["name"]) for line in stored.read_text().splitlines()]
    assert len(names) == len(set(names)) == 10
    assert json.loads((tmp_path / "run/fidelity.json").read_text())["all"]["n"] == 10
