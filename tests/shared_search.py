"""A command that shares a study: `shared_search.py <folder> <address> <n_trials>`, no Hydra."""

import sys
from pathlib import Path
from zlib import crc32

import optuna
from test_study import SPACE, TABLE, CountingProxy, evolution

from nas.objective import Reward
from nas.search.connection import connect
from nas.search.journal import Journal
from nas.search.records import Target
from nas.search.shared import SharedStudies
from nas.search.study import TargetSearch


def main(folder: Path, address: str, n_trials: int) -> None:
    """Search until all commands together have run so many trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = SharedStudies(
        connect(address),
        Journal(folder / "study.journal"),
        name="mine",
        identity={"proxy": {}},
        run=folder.name,
        wait_s=60,
        say=lambda text: print(text, flush=True),
    )
    search = TargetSearch(
        target=Target(
            name="tiny", space=SPACE, target_ms=3.0, objective=Reward(), n_trials=n_trials
        ),
        table=TABLE,
        proxy=CountingProxy(),
        storage=storage,
        make_sampler=lambda n_stored: evolution(crc32(f"{folder.name} {n_stored}".encode()) // 2),
        sampler_name="regularized_evolution",
    )
    for finished in search.run():
        print(finished.number, flush=True)
    storage.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
