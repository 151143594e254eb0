"""What a command that goes on finds in its folder: journals, identities, results, steps."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from omegaconf import OmegaConf
from optuna.samplers import RandomSampler
from readers import Reader

from nas.adapt.trajectory import Step, Trajectory, Tried
from nas.adapt.trajectory import csv_of as steps_csv
from nas.arch import Arch
from nas.commands import settings
from nas.cost import count_macs
from nas.latency.table import LatencyTable, Row
from nas.objective import Constraint, Pareto, Reward
from nas.results import RunFolder
from nas.search.journal import Journal, read_trials
from nas.search.options import SearchSettings
from nas.search.records import Target
from nas.search.replay import RunRecord, differences, with_recorded_choices
from nas.search.study import TargetSearch
from nas.space import SearchSpace
from nas.train.comparison import csv_of, rows_of, table_of
from nas.training.full.folder import TrainingFolder
from nas.training.results import FILE, TrainingName, TrainingResult, TrainingResults

optuna.logging.set_verbosity(optuna.logging.WARNING)
SPACE = SearchSpace.load("tiny")
TABLE = LatencyTable(
    name="made",
    header={"version": "1"},
    rows={layer: Row(layer=layer, ms=0.1 + count_macs(layer) / 1e6) for layer in SPACE.layers()},
)
OBJECTIVES = (Reward(exponent=-0.07), Pareto(), Constraint())
IDENTITY = {"network": "mobilenet", "share": 0.01, "recipe": {"epochs": 3, "flip": True}, "seed": 0}
OPTIONS: dict[str, Any] = {
    "hardware": {"name": "pixel_cpu", "table": "pixel_cpu"},
    "objective": {"_target_": "nas.objective.Reward", "exponent": None},
    "proxy": {"_target_": "nas.proxies.surrogate.Surrogate.load", "risk": 0.25},
    "sampler": {"_target_": "optuna.samplers.RandomSampler", "n_trials": 10},
    "pruner": {"_target_": "optuna.pruners.NopPruner"},
    "workers": {"_target_": "nas.workers.local.LocalWorkers"},
    "large": {"space": "mobilenet_v3_large", "exponent": -0.07},
    "small": {"space": "mobilenet_v3_small", "exponent": -0.15},
    "targets": ["large"],
    "storage": None,
    "seed": 0,
}
NAME = TrainingName(key="0" * 16, recipe="1" * 16, data="2" * 16, seed=0)


class Flat:
    """A proxy that says the same of every network."""

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return 70 % for each."""
        return np.full(len(archs), 70.0), np.ones(len(archs))


def search(journal: Journal, n_trials: int, objective: int) -> TargetSearch:
    """Return a search that goes on from a journal."""
    target = Target(
        name="tiny", space=SPACE, target_ms=3.0, objective=OBJECTIVES[objective], n_trials=n_trials
    )
    return TargetSearch(
        target=target,
        table=TABLE,
        proxy=Flat(),
        storage=journal,
        make_sampler=lambda n: RandomSampler(seed=n),
        sampler_name="random",
    )


def journals() -> Sequence[bytes]:
    """Return journals of short searches."""
    found = []
    for objective in range(len(OBJECTIVES)):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "study.journal"
            journal = Journal(path)
            list(search(journal, 4, objective).run())
            journal.close()
            found.append(path.read_bytes())
    return found


def identities() -> Sequence[bytes]:
    """Return environments of a search and of a training."""
    about = {"python": "3.13", "command": ["nas"], "packages": {"torch": "2.9"}}
    both = {**about, "search": IDENTITY, "training": IDENTITY}
    return [json.dumps(both, indent=2).encode() + b"\n"]


def records() -> Sequence[bytes]:
    """Return the environment of a search that can be repeated."""
    content = {
        "python": "3.13",
        "packages": {"torch": "2.9"},
        "search": IDENTITY,
        "choices": {"hardware": "pixel_cpu", "proxy": "surrogate"},
        "options": OPTIONS,
        "earlier": [{"python": "3.12"}],
    }
    return [json.dumps(content, indent=2).encode() + b"\n"]


def results() -> Sequence[bytes]:
    """Return stored results: whole, stopped and failed."""
    arch = SPACE.random(0)
    made = [
        TrainingResult.now(NAME, arch, state="whole", top1=71.5, history=(50.0, 71.5), seconds=1.5),
        TrainingResult.now(NAME, arch, state="stopped", history=(50.0,)),
        TrainingResult.now(NAME, arch, state="failed", reason="it diverged"),
    ]
    return [b"".join(one.line() for one in made)]


def steps() -> Sequence[bytes]:
    """Return the steps of an adaptation."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "steps.jsonl"
        trajectory = Trajectory(path, IDENTITY)
        for number in range(3):
            tried = (Tried(what="cut", ms=2.0, top1=60.0),) * number
            step = Step(
                arch=SPACE.random(number), what="cut", ms=3.0 - number, top1=70.0, tried=tried
            )
            trajectory.add(step)
        return [path.read_bytes()]


def metrics() -> Sequence[bytes]:
    """Return the end of a training."""
    row = {
        **{"network": "net", "options": "", "training": "net", "seed": 0, "data": "digits"},
        **{"part": "test", "top1": 91.5, "top5": 99, "epochs": 3, "seconds_per_epoch": 1.5},
        **{"images_per_second": 100.5, "inference_ms": 2.5, "table_ms": None, "macs": 10**6},
        "params": 1000,
    }
    return [json.dumps(row, indent=2).encode() + b"\n"]


def read_journal(path: Path) -> None:
    """Go on from a journal with an objective of ours, and look for the best."""
    read_trials(path, "tiny")
    objective = 1 if b'"directions":[2,1]' in path.read_bytes() else 0
    journal = Journal(path)
    try:
        one = search(journal, 5, objective)
        for finished in (*one.finished, *one.run()):
            finished.row("tiny")
            one.named_arch(finished, "net")
        _ = one.best, one.winner, one.front()
    finally:
        journal.close()


def read_search(path: Path) -> None:
    """Ask whether a run folder is of the same search."""
    RunFolder(path.parent).check_same_search(IDENTITY)


def read_record(path: Path) -> None:
    """Repeat a trial of a run with the options of a command line over the recorded ones."""
    with_recorded_choices([f"replay={path.parent}"])
    record = RunRecord.read(path.parent)
    assert all(word.partition("=")[2].isprintable() for word in record.words())
    options = record.over(OPTIONS)
    assert options["proxy"]["_target_"] == OPTIONS["proxy"]["_target_"]
    settings(OmegaConf.create(options), SearchSettings)
    differences(record, IDENTITY, {"python": "3.13", "packages": {"torch": "2.8"}})


def read_training(path: Path) -> None:
    """Ask whether a run folder is of the same training."""
    TrainingFolder(path.parent).check_same_training(IDENTITY)


def read_results(path: Path) -> None:
    """Read stored results and rebuild their networks."""
    store = TrainingResults(path.parent)
    store.get(NAME)
    for one in store.every():
        one.network()
        assert isfinite(sum(one.history, one.top1))
        f"{one.seconds:.1f} {one.reason} {len(one.name.key)}"


def read_steps(path: Path) -> None:
    """Go on from the steps of an adaptation."""
    trajectory = Trajectory(path, IDENTITY)
    steps_csv(trajectory.steps)
    if trajectory.steps:
        trajectory.add(trajectory.steps[-1])
        Trajectory(path, IDENTITY)


def read_metrics(path: Path) -> None:
    """Compare the trainings of a sweep."""
    rows = rows_of(path.parents[1])
    csv_of(rows)
    if rows:
        table_of(rows)


RUN_READERS = (
    Reader(
        name="journal", file="study.journal", form="lines", examples=journals, read=read_journal
    ),
    Reader(
        name="search identity",
        file="environment.json",
        form="json",
        examples=identities,
        read=read_search,
    ),
    Reader(
        name="run record",
        file="environment.json",
        form="json",
        examples=records,
        read=read_record,
    ),
    Reader(
        name="training identity",
        file="environment.json",
        form="json",
        examples=identities,
        read=read_training,
    ),
    Reader(name="training results", file=FILE, form="lines", examples=results, read=read_results),
    Reader(name="steps", file="steps.jsonl", form="lines", examples=steps, read=read_steps),
    Reader(name="metrics", file="0/metrics.json", form="json", examples=metrics, read=read_metrics),
)
