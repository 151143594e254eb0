"""What many trials cost: `python benchmarks/storage_cost.py [--storage postgresql://...]`.

- The default search with the shipped surrogate, 10,000 trials: time per trial in the last 500 over
  that in the first 500, with the journal; of it, the time in the journal.
- The same with a database, whose study is filled in between by SQL, as 10,000 real ones take long.
  Start one for it: `createdb benchmark`, then `--storage postgresql://user@host/benchmark`.
- The samplers: ms of a core to ask and tell a trial of mobilenet_v3_large, early and late.

Every ratio is of one run. Takes about three minutes without a database, two more with one.
"""

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import sqlalchemy
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.objective import Direction, Reward
from nas.proxies.surrogate import Surrogate
from nas.search.address import database_url
from nas.search.asking import ask, memory
from nas.search.choices import Catalogue
from nas.search.connection import connect
from nas.search.distributions import categorical, lasting
from nas.search.evolution import RegularizedEvolution
from nas.search.journal import Journal
from nas.search.records import Target
from nas.search.shared import SharedStudies
from nas.search.storage import Storage
from nas.search.study import TargetSearch
from nas.space import SearchSpace

N_TRIALS = 10_000
WINDOW = 500
N_WRITTEN = 150
"""Trials that are really written to the database, before and after it is filled."""
SAMPLERS: dict[str, tuple[Callable[[], BaseSampler], int]] = {
    "random": (lambda: RandomSampler(seed=0), N_TRIALS),
    "regularized_evolution": (lambda: RegularizedEvolution(seed=0), N_TRIALS),
    "nsga2": (lambda: NSGAIISampler(seed=0), N_TRIALS),
    "tpe": (lambda: TPESampler(seed=0), N_TRIALS),
    "gp": (lambda: GPSampler(seed=0, n_startup_trials=20), 100),
}


@dataclass
class Timed:
    """A storage that notes how long it takes for each trial."""

    inner: Storage
    seconds: list[float] = field(default_factory=list)

    def trials(self, study: str, directions: Sequence[Direction]) -> list[FrozenTrial]:
        """Return the trials so far."""
        return self.inner.trials(study, directions)

    def add(
        self, study: str, trial: FrozenTrial, user_attrs: Mapping[str, Any], started: datetime
    ) -> int:
        """Keep a trial, timed."""
        begun = time.perf_counter()
        number = self.inner.add(study, trial, user_attrs, started)
        self.seconds[-1] += time.perf_counter() - begun
        return number

    def news(self, study: str) -> list[FrozenTrial]:
        """Return what others added, timed."""
        begun = time.perf_counter()
        found = self.inner.news(study)
        self.seconds.append(time.perf_counter() - begun)
        return found

    def close(self) -> None:
        """Close the storage."""
        self.inner.close()


def searched(storage: Timed, n_trials: int) -> list[float]:
    """Run the default search for so many trials, and return the seconds of each."""
    name = "mobilenet_v3_large"
    table = LatencyTable.load("pixel_cpu")
    search = TargetSearch(
        target=Target(
            name="large",
            space=SearchSpace.load(name),
            target_ms=table.predict_ms(Arch.load(name)),
            objective=Reward(exponent=-0.07),
            n_trials=n_trials,
            risk=0.25,
        ),
        table=table,
        proxy=Surrogate.load(),
        storage=storage,
        make_sampler=lambda n_stored: RegularizedEvolution(seed=n_stored),
        sampler_name="regularized_evolution",
    )
    found = []
    begun = time.perf_counter()
    for _ in search.run():
        found.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    return found


def show(what: str, first: Sequence[float], last: Sequence[float]) -> None:
    """Print the mean of both windows and their ratio."""
    early, late = (sum(window) / len(window) * 1e3 for window in (first, last))
    print(f"{what:<42} {early:8.2f} ms {late:8.2f} ms   ratio {late / early:.2f}", flush=True)


def in_journal(folder: Path) -> None:
    """Print what a trial costs with the journal."""
    storage = Timed(Journal(folder / "study.journal"))
    seconds = searched(storage, N_TRIALS)
    storage.close()
    show("journal, a trial", seconds[:WINDOW], seconds[-WINDOW:])
    show(
        "journal, of it in the storage", storage.seconds[:WINDOW], storage.seconds[-WINDOW - 1 : -1]
    )


def in_database(folder: Path, address: str) -> None:
    """Print what a trial costs with a database."""
    study, seconds, stored = f"cost-{secrets.token_hex(4)}", [], []
    for run, n_trials in (("first", N_WRITTEN), ("last", N_TRIALS)):
        (folder / run).mkdir()
        storage = Timed(
            SharedStudies(
                connect(address),
                Journal(folder / run / "study.journal"),
                name=study,
                identity={"proxy": {}},
                run=run,
            )
        )
        seconds.append(searched(storage, n_trials))
        stored.append(storage.seconds[: len(seconds[-1])])
        storage.close()
        if run == "first":
            fill(address, f"{study}-large", N_TRIALS - 2 * N_WRITTEN)
    show(f"{address.partition(':')[0]}, a trial", *seconds)
    show(f"{address.partition(':')[0]}, of it in the storage", *stored)


def fill(address: str, study: str, n_trials: int) -> None:
    """Copy the trials of a study, with all that belongs to them, until there are so many more."""
    engine = sqlalchemy.create_engine(database_url(address))
    copies = {
        "trial_params": "param_name, param_value, distribution_json",
        "trial_values": "objective, value, value_type",
        "trial_system_attributes": "key, value_json",
    }
    with engine.begin() as connection:
        made = f"""
            INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
            SELECT n, study_id, state, datetime_start, datetime_complete
            FROM trials JOIN studies USING (study_id),
                 generate_series({N_WRITTEN}, {N_WRITTEN + n_trials - 1}) n
            WHERE study_name = '{study}' AND number = 0"""
        connection.execute(sqlalchemy.text(made))
        pairs = f"""
            FROM trials new JOIN studies USING (study_id)
            JOIN trials old ON old.study_id = new.study_id AND old.number = new.number % {N_WRITTEN}
            JOIN {{table}} part ON part.trial_id = old.trial_id
            WHERE study_name = '{study}' AND new.number >= {N_WRITTEN}"""
        for table, columns in copies.items():
            chosen = ", ".join(f"part.{column.strip()}" for column in columns.split(","))
            copied = f"INSERT INTO {table} (trial_id, {columns}) SELECT new.trial_id, {chosen}"
            connection.execute(sqlalchemy.text(copied + pairs.format(table=table)))
        named = """
            INSERT INTO trial_user_attributes (trial_id, key, value_json)
            SELECT new.trial_id, part.key, CASE part.key
                WHEN 'id' THEN '"copy-' || new.number || '"' ELSE part.value_json END"""
        connection.execute(sqlalchemy.text(named + pairs.format(table="trial_user_attributes")))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.text("ANALYZE"))
    engine.dispose()


def by_sampler(limit_s: float) -> None:
    """Print what a sampler takes for a trial, asked and told as a search does."""
    space = SearchSpace.load("mobilenet_v3_large")
    distributions = lasting(categorical(space.choices))
    for name, (make, n_trials) in SAMPLERS.items():
        storage = memory(Catalogue(space.choices), distributions)
        study = optuna.create_study(storage=storage, direction="maximize", sampler=make())
        seconds: list[float] = []
        while len(seconds) < n_trials and sum(seconds) < limit_s:
            begun = time.process_time()
            trial, choices = ask(study, storage, distributions)
            value = sum(str(value) == str(choices[key]) for key, value in _wanted(space))
            study.tell(trial, float(value))
            seconds.append(time.process_time() - begun)
        window = max(1, len(seconds) // 20)
        early, late = (
            median(part) * 1e3 for part in (seconds[window : 2 * window], seconds[-window:])
        )
        print(
            f"sampler {name:<24} {early:8.2f} ms early {late:8.2f} ms at trial {len(seconds)}",
            flush=True,
        )


def _wanted(space: SearchSpace) -> list[tuple[str, object]]:
    return [(name, values[0]) for name, values in space.choices.items()]


def main() -> None:
    """Print the figures of all parts, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", help="a database, such as postgresql://user@host/benchmark")
    parser.add_argument("--seconds", type=float, default=40, help="of a core, for each sampler")
    parser.add_argument("--parts", default="journal,database,samplers")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory() as folder:
        if "journal" in parts:
            in_journal(Path(folder))
        if "database" in parts and options.storage:
            in_database(Path(folder), options.storage)
        if "samplers" in parts:
            by_sampler(options.seconds)


if __name__ == "__main__":
    main()
