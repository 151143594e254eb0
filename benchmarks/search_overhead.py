"""What the search costs beside sampler and proxy: `python benchmarks/search_overhead.py`.

Two ratios, each of one run on one machine:
- 10,000 networks predicted by the table, against a loop that sums a dictionary;
- the search's own time per trial (asking, decoding, look-up, reward, telling, journal, trials.csv)
  beside that of a random sampler's draws, against what plain Optuna adds to the same draws of the
  same choices, with its journal storage and in memory alone.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState, create_trial

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.objective import Reward
from nas.results import RunFolder
from nas.search.journal import Journal
from nas.search.records import Target
from nas.search.study import TargetSearch
from nas.space import SearchSpace

N_ARCHS = 10_000
N_TRIALS = 1_000
ROUNDS = 5


class FreeProxy:
    """Costs nothing, so that what is left is the search's own time."""

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the same accuracy for every network."""
        return np.full(len(archs), 70.0), np.zeros(len(archs))


def seconds(task: Callable[[], object]) -> float:
    """Return how long the task takes."""
    begun = time.perf_counter()
    task()
    return time.perf_counter() - begun


def table_against_loop(space: SearchSpace, table: LatencyTable) -> None:
    """Print how fast the table predicts many networks."""
    archs = [space.random(seed) for seed in range(N_ARCHS)]
    plain = {layer: row.ms for layer, row in table.rows.items()}

    def loop() -> list[float]:
        totals = []
        for arch in archs:
            total = 0.0
            for layer in arch.layers:
                total += plain[layer]
            totals.append(total)
        return totals

    ours = min(seconds(lambda: table.predict_many_ms(archs)) for _ in range(ROUNDS))
    theirs = min(seconds(loop) for _ in range(ROUNDS))
    assert np.allclose(table.predict_many_ms(archs), loop())
    print(
        f"{N_ARCHS} networks: table {ours * 1e3:.0f} ms, dictionary loop {theirs * 1e3:.0f} ms, "
        f"ratio {ours / theirs:.2f}"
    )


def loop_against_optuna(space: SearchSpace, table: LatencyTable) -> None:
    """Print the search's own time per trial, beside that of plain Optuna with a journal."""
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(values) for name, values in space.choices.items()
    }

    def draws() -> None:
        sampler = RandomSampler(seed=0)
        study = optuna.create_study(sampler=sampler)
        trial = create_trial(state=TrialState.RUNNING)
        for _ in range(N_TRIALS):
            for name, offered in distributions.items():
                sampler.sample_independent(study, trial, name, offered)

    def in_memory() -> None:
        study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
        for _ in range(N_TRIALS):
            trial = study.ask(distributions)
            study.tell(trial, 1.0)

    def plain(folder: Path) -> None:
        storage = JournalStorage(JournalFileBackend(str(folder / "plain.journal")))
        study = optuna.create_study(
            direction="maximize", sampler=RandomSampler(seed=0), storage=storage
        )

        def objective(trial: Trial) -> float:
            return table.predict_ms(space.sample(trial))

        study.optimize(objective, n_trials=N_TRIALS // 10)

    def ours(folder: Path) -> None:
        journal = Journal(folder / "study.journal")
        search = TargetSearch(
            target=Target(
                name="large", space=space, target_ms=30.0, objective=Reward(), n_trials=N_TRIALS
            ),
            table=table,
            proxy=FreeProxy(),
            storage=journal,
            make_sampler=_random_sampler,
            sampler_name="random",
        )
        trials = RunFolder(folder).open_trials([])
        for finished in search.run():
            trials.add(finished.row("large"))
        trials.close()
        journal.close()

    per_trial: dict[str, list[float]] = {"draws": [], "ours": [], "memory": [], "plain": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            per_trial["draws"].append(seconds(draws) / N_TRIALS * 1e3)
            per_trial["ours"].append(seconds(lambda: ours(Path(folder))) / N_TRIALS * 1e3)
            per_trial["memory"].append(seconds(in_memory) / N_TRIALS * 1e3)
            per_trial["plain"].append(seconds(lambda: plain(Path(folder))) / N_TRIALS * 1e4)
    drawn, own, memory, plainly = (min(values) for values in per_trial.values())
    own, memory, plainly = own - drawn, memory - drawn, plainly - drawn
    print(
        f"per trial: random draws {drawn:.2f} ms; the search adds {own:.2f} ms, plain Optuna with "
        f"a journal {plainly:.2f} ms, ratio {own / plainly:.3f}; in memory alone Optuna adds "
        f"{memory:.2f} ms, ratio {own / memory:.2f}"
    )


def _random_sampler(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def main() -> None:
    """Print both ratios."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = SearchSpace.load("mobilenet_v3_large")
    table = LatencyTable.load("pixel_cpu")
    table_against_loop(space, table)
    loop_against_optuna(space, table)


if __name__ == "__main__":
    main()
