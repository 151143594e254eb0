"""Have trainings done by workers, and show how far they are."""

import os
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

from rich.markup import escape

from nas.errors import NasError
from nas.train.settings import TrainSettings
from nas.train.showing import watching
from nas.train.showing_sweep import SweepShow
from nas.train.telling import hear, telling
from nas.train.training import Training, train
from nas.training.full.launch import is_launched
from nas.workers.contract import Ask, Failure, Staff, Task, Workers
from nas.workers.cores import n_cores
from nas.workers.local import LocalWorkers


def train_together(
    ready: Mapping[int, Training], staff: Staff, show: SweepShow, name: str
) -> dict[int, Failure]:
    """Train all that are ready, by workers that are called `name`, and return what failed.

    Raises:
        NasError: the workers cannot be had, or cannot do such trainings.
    """
    failures = dict[int, Failure]()
    if not ready:
        return failures
    with closing(staff.start(_task(ready))) as workers:
        _check_fit(ready, workers, name)
        if workers.n > 1:
            show.console.print(f"workers: {workers.description} (workers={escape(name)})")
        jobs = {
            workers.submit(training, partial(_heard, show, number)): number
            for number, training in ready.items()
        }
        while jobs:
            for ended in workers.ended():
                number = jobs.pop(ended.number)
                if ended.failure is None:
                    show.ended(number, ended.value, ready[number].job.folder.best)
                else:
                    failures[number] = ended.failure
                    show.failed(number, ended.failure.reason)
    return failures


def is_one_process(options: TrainSettings) -> bool:
    """Tell whether a training is one process, wherever it is; others start, or are, several."""
    return options.devices == 1 and not is_launched()


def _task(ready: Mapping[int, Training]) -> Task:
    every = list(ready.values())
    is_on_cpu = all(one.fabric.device.type == "cpu" for one in every)
    # A GPU is for one at a time: they would share its memory.
    cores = max(one.settings.threads or 1 for one in every) if is_on_cpu else n_cores()
    are_single = all(is_one_process(one.settings) for one in every)
    return Task(
        function="nas.train.worker:training",
        options={"folder": os.getcwd()},
        plain=Training.plain,
        here=lambda: _train_here,
        is_dear=len(every) > 1 and is_on_cpu and are_single,
        cores=cores,
    )


def _train_here(training: Training, ask: Ask) -> dict[str, Any]:
    # The processes of one training can be handed no more than a function's name.
    is_alone = is_one_process(training.settings)
    return train(training, partial(telling, ask) if is_alone else watching)


def _check_fit(ready: Mapping[int, Training], workers: Workers, name: str) -> None:
    is_here = isinstance(workers, LocalWorkers)
    if not is_here and not all(is_one_process(one.settings) for one in ready.values()):
        raise NasError(
            f"workers={name} gives each training one process, but devices= or torchrun asks for "
            "several. Choose workers=local, or devices=1."
        )


def _heard(show: SweepShow, number: int, message: dict[str, Any]) -> None:
    hear(message, show.watches[number])
