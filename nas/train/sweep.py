"""Train the networks of a sweep, as many at a time as its workers do."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.chosen_data import read_data
from nas.commands import make, settings
from nas.errors import NasError
from nas.steps import OnStep
from nas.train.comparison import compare
from nas.train.settings import TrainSettings
from nas.train.showing import console
from nas.train.showing_sweep import SweepShow
from nas.train.together import is_one_process, train_together
from nas.train.training import Training, is_first, prepared
from nas.training.batches import device_named
from nas.training.full.launch import is_launched
from nas.workers.contract import Failure, Staff
from nas.workers.cores import n_cores
from nas.workers.ray_cluster import RayCluster

MAX_LABEL = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """A training as the command line wants it.

    folder: its own, in that of the sweep. words: what it is told, but for Hydra's own. names: the
    choices of `data` and `workers`.
    """

    cfg: DictConfig
    folder: Path
    sweep_folder: Path
    words: tuple[str, ...]
    names: Mapping[str, str]


def train_sweep(every: Sequence[Wanted]) -> None:
    """Train them all, and end with the table of what is then finished in the sweep's folder.

    Raises:
        NasError: the first failure, when the others have ended; workers that cannot be had.
    """
    shown = console()
    shown.quiet = not is_first()
    names, staff = labels(every), _staff(every)
    try:
        has_bars = not is_launched() and all(one.cfg.devices == 1 for one in every)
        with SweepShow.on(shown, names, has_bars=has_bars) as show:
            ready, failures = _ready(every, staff, show)
            failures |= train_together(ready, staff, show, every[0].names["workers"])
    finally:
        if is_first():
            compare(every[0].sweep_folder, shown)
    for number, failure in sorted(failures.items()):
        others = "" if len(failures) == 1 else f" (the first of {len(failures)} that failed)"
        text = f"training {names[number]}{others}: {failure.reason}"
        raise NasError(text) from failure.cause


def labels(every: Sequence[Wanted]) -> list[str]:
    """Return what each training is called: its folder, and the words that not all of them have."""
    shared = set.intersection(*(set(one.words) for one in every))
    found = []
    for one in every:
        own = " ".join(word for word in one.words if word not in shared)
        own = own if len(own) <= MAX_LABEL else f"{own[: MAX_LABEL - 3]}..."
        found.append(f"{one.folder.name} {own}".strip())
    return found


def n_threads(options: TrainSettings, n_trainings: int, staff: Staff) -> int | None:
    """Return how many threads one training of a sweep computes on; None: as one that is alone.

    Whoever trains on this machine, it is the same share of the cores, and so are the figures.

    Raises:
        NasError: there is no such device.
    """
    is_shared = n_trainings > 1 and is_one_process(options) and sys.platform != "win32"
    if options.threads or not is_shared or device_named(options.device).type != "cpu":
        return options.threads
    if isinstance(staff, RayCluster):
        return max(1, int(staff.cpus))
    return max(1, n_cores() // n_trainings)


def _staff(every: Sequence[Wanted]) -> Staff:
    first, *others = (OmegaConf.to_container(one.cfg.workers, resolve=True) for one in every)
    if any(one != first for one in others):
        raise NasError("workers must be the same for a whole sweep. Give one choice of workers=.")
    staff: Staff = make(first, f"workers {every[0].names['workers']}", "start")
    return staff


def _ready(
    every: Sequence[Wanted], staff: Staff, show: SweepShow
) -> tuple[dict[int, Training], dict[int, Failure]]:
    """Make all of them ready before the first begins: what is wrong is said at once."""
    images = _Images(on_step=show.on_step)
    ready, failures = dict[int, Training](), dict[int, Failure]()
    folders = set[Path]()
    for number, one in enumerate(every):
        try:
            options = settings(one.cfg, TrainSettings)
            options.check()
            options = replace(options, threads=n_threads(options, len(every), staff))
            if one.folder in folders:
                raise NasError(f"{one.folder} is another one's too. Correct hydra.sweep.subdir=.")
            folders.add(one.folder)
            read = partial(images.read, one.names["data"])
            ready[number] = prepared(options, one.folder, one.words, read)
        except Exception as error:  # a model or a data set may be anybody's code
            failures[number] = Failure.of(error)
            show.failed(number, failures[number].reason)
    return ready, failures


@dataclass(kw_only=True)
class _Images:
    """The images of a sweep, each read once; most are files that are mapped."""

    on_step: OnStep
    kept: dict[str, Any] = field(default_factory=dict)

    def read(self, name: str, node: Mapping[str, Any]) -> Any:
        key = json.dumps(node, default=str)
        if key not in self.kept:
            self.kept[key] = read_data(node, self.on_step, name)
        return self.kept[key]
