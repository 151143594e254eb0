"""What more workers bring: `python benchmarks/scale.py [processes] [ray] [driver] [training]`.

Ratios of one run on one machine, each of a whole search with its sampler, journal and trials.csv:
- `processes`: a proxy that computes, judged by 2 processes and by 1; bar 1.8 times the rate;
- `ray`: a proxy that sleeps 0.1 s, on 16 Ray workers and on 1; bar 14 times the rate;
- `driver`: 200 workers that take 1 s a network, simulated: what the process that hands out their
  work takes of one core; bar 50 %;
- `training`: a sweep of two trainings by `python -m nas.train --multirun`, beside each other on one
  core each, and one after the other on one core and on two: whole commands, start included; no bar.
Four minutes in all, on a machine that does nothing else.
"""

import argparse
import hashlib
import heapq
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.latency.table import LatencyTable
from nas.objective import Reward
from nas.results import RunFolder
from nas.search.evolution import RegularizedEvolution
from nas.search.journal import Journal
from nas.search.records import Target
from nas.search.study import TargetSearch
from nas.space import SearchSpace
from nas.workers.contract import Ask, Ended, Task, Work, Workers
from nas.workers.jobs import JudgedByWorkers, Judging
from nas.workers.processes import Processes
from nas.workers.ray_cluster import RayCluster

BARS = {"processes": 1.8, "ray": 14.0, "driver": 0.5}
ROUNDS = 3
N_EPOCHS = 10


def computing(options: Mapping[str, Any]) -> Work:
    """Make work that computes for a fifth of a second or so, the same for every network."""
    block = b"x" * 2**20

    def work(job: Any, ask: Ask) -> list[float]:
        digest = hashlib.sha256()
        for _ in range(options["n_blocks"]):
            digest.update(block)
        return [70.0 + digest.digest()[0] / 1000, 0.5]

    return work


def sleeping(options: Mapping[str, Any]) -> Work:
    """Make work that sleeps."""

    def work(job: Any, ask: Ask) -> list[float]:
        time.sleep(options["seconds"])
        return [70.0, 0.5]

    return work


class NoProxy:
    """Stands where a search wants a proxy; the workers answer."""

    def predict(self, archs: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Refuse."""
        raise AssertionError("the workers judge")


@dataclass
class Simulated:
    """So many workers that each take about `seconds` a network, and no machine."""

    n: int
    seconds: float
    description: str = "simulated"
    jobs: list[tuple[float, int]] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def submit(self, job: Any, on_ask: Ask | None = None) -> int:
        """Begin a job."""
        number = next(self.numbers)
        takes = self.seconds * self.rng.uniform(0.5, 1.5)
        heapq.heappush(self.jobs, (time.perf_counter() + takes, number))
        return number

    def ended(self, timeout: float | None = None) -> list[Ended]:
        """Sleep until the first jobs end."""
        time.sleep(max(0.0, self.jobs[0][0] - time.perf_counter()))
        found = []
        while self.jobs and self.jobs[0][0] <= time.perf_counter():
            value = [float(self.rng.uniform(60, 75)), 0.5]
            found.append(Ended(number=heapq.heappop(self.jobs)[1], value=value))
        return found

    def close(self) -> None:
        """Do nothing."""


def search_seconds(workers: Workers, n_trials: int) -> tuple[float, float]:
    """Return the seconds that a search takes, and those of this process's own computing."""
    space, table = SearchSpace.load("mobilenet_v3_large"), LatencyTable.load("pixel_cpu")
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "study.journal")
        trials = RunFolder(Path(folder)).open_trials([])
        search = TargetSearch(
            target=Target(
                name="large", space=space, target_ms=30.0, objective=Reward(), n_trials=n_trials
            ),
            table=table,
            proxy=NoProxy(),
            storage=journal,
            make_sampler=lambda seed: RegularizedEvolution(seed=seed),
            sampler_name="regularized_evolution",
            workers=workers,
        )
        begun, computed = time.perf_counter(), time.process_time()
        for finished in search.run():
            trials.add(finished.row("large"))
        took = time.perf_counter() - begun, time.process_time() - computed
        trials.close()
        journal.close()
    assert all(one.evaluation.is_whole for one in search.finished)
    return took


def warm(workers: Workers) -> Workers:
    """Return workers that have all started."""
    archs = [SearchSpace.load("tiny").random(seed) for seed in range(4 * workers.n)]
    JudgedByWorkers(workers=workers).predict(archs)
    return workers


def task(function: str, **options: Any) -> Task:
    """Return a task of this file."""
    return Task(function=f"scale:{function}", options=options, plain=Judging.plain)


def rates(few: Workers, many: Workers, n_few: int, n_many: int) -> tuple[float, float, float]:
    """Return the rates of both in trials a second, and the driver's share of a core with many."""
    found: dict[str, list[float]] = {"few": [], "many": [], "share": []}
    for _ in range(ROUNDS):
        found["few"].append(n_few / search_seconds(few, n_few)[0])
        seconds, own = search_seconds(many, n_many)
        found["many"].append(n_many / seconds)
        found["share"].append(own / seconds)
    return median(found["few"]), median(found["many"]), median(found["share"])


def processes() -> None:
    """Compare 2 processes with 1."""
    computed = task("computing", n_blocks=200)
    one, two = (warm(Processes(n=n).start(computed)) for n in (1, 2))
    try:
        few, many, _ = rates(one, two, 30, 60)
    finally:
        one.close()
        two.close()
    say("processes", f"1 process {few:.2f} trials/s, 2 processes {many:.2f}", many / few)


def ray() -> None:
    """Compare 16 Ray workers with 1, on one cluster."""
    sleeper = task("sleeping", seconds=0.1)
    many = warm(RayCluster(n=16, cpus=0.1).start(sleeper))
    one = warm(RayCluster(n=1, cpus=0.1).start(sleeper))
    try:
        slow, fast, share = rates(one, many, 50, 800)
    finally:
        one.close()
        many.close()
    say(
        "ray",
        f"1 Ray worker {slow:.2f} trials/s, 16 workers {fast:.2f}, the driver at {share:.0%} of "
        "a core",
        fast / slow,
    )


def driver() -> None:
    """Measure what 200 workers take of the core that hands out their work."""
    seconds, own = search_seconds(Simulated(n=200, seconds=1.0), 4000)
    each = own / 4000
    print(
        f"driver: 200 workers at 1 s a network: {4000 / seconds:.0f} trials/s, {own / seconds:.1%} "
        f"of one core (bar {BARS['driver']:.0%}), {each * 1e3:.2f} ms a trial; half a core from "
        f"networks of {200 * each / BARS['driver']:.2f} s down",
        flush=True,
    )


def training() -> None:
    """Compare two trainings beside each other with one after the other."""
    ways = {
        "beside each other": ("workers=processes", "workers.n=2", "threads=1"),
        "one after the other on 1 core": ("workers=local", "threads=1"),
        "on 2 cores": ("workers=local", "threads=2"),
    }
    found = {name: sweep_seconds(*words) for name, words in ways.items()}
    figures = [f"{name} {wall:.0f} s ({own:.0f} of cores)" for name, (wall, own) in found.items()]
    beside, *after = (wall for wall, _ in found.values())
    print(
        f"training: 2 trainings {', '.join(figures)}: ratios {after[0] / beside:.2f} and "
        f"{after[1] / beside:.2f}; load of the machine {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def sweep_seconds(*words: str) -> tuple[float, float]:
    """Return the seconds that a sweep of two trainings takes, and those of all cores together."""
    what = ("arch=mobilenet_v3_small", "seed=0,1", "data=digits", "resolution=32", "device=cpu")
    recipe = ("recipe=quick", "recipe.flip=false", f"recipe.epochs={N_EPOCHS}")
    with tempfile.TemporaryDirectory() as folder:
        own = f"hydra.sweep.dir={folder}"
        command = [sys.executable, "-m", "nas.train", "--multirun", *what, *recipe, *words, own]
        begun, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        used = after.children_user + after.children_system
        used -= before.children_user + before.children_system
        return time.perf_counter() - begun, used


def say(part: str, figures: str, ratio: float) -> None:
    """Print the figures of a part."""
    print(f"{part}: {figures}: ratio {ratio:.2f} (bar {BARS[part]:g})", flush=True)


PARTS: dict[str, Callable[[], None]] = {
    "processes": processes,
    "ray": ray,
    "driver": driver,
    "training": training,
}


def main() -> None:
    """Run the parts that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    for name in chosen:
        if name not in PARTS:
            parser.error(f"unknown part {name}: choose from {', '.join(PARTS)}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
