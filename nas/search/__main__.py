"""Search networks for a target CPU: `python -m nas.search +hardware=pixel_cpu`.

For each target (large, small) a study maximises accuracy x (latency / target) ^ w; the winners, the
Pareto front, the comparison with the hand-designed networks and the report go to the run folder.
The same command with the same `hydra.run.dir=` continues a run; `replay=<run folder> trial=17`
repeats one trial of it.
"""

import hashlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from rich.console import Console
from rich.markup import escape

from nas.chosen_data import load_data, make_judge
from nas.chosen_workers import ChosenWorkers
from nas.commands import choice, command, make, require_choice, settings
from nas.errors import NasError
from nas.results import RunFolder
from nas.search.identity import shared_identity
from nas.search.journal import Journal
from nas.search.options import (
    SearchSettings,
    check,
    facts_of,
    identity_of,
    recorded_options,
    table_of,
    targets_of,
)
from nas.search.passwords import without_passwords
from nas.search.records import Learner, Proxy, Target, Trainer
from nas.search.replay import with_recorded_choices
from nas.search.replaying import replay
from nas.search.run import Run
from nas.search.storage import Storage
from nas.search.study import TargetSearch
from nas.workers.contract import Workers

EXIT_DIFFERENT = 1
"""A trial that was repeated came out otherwise."""


def main() -> None:
    """Run the search that the command line describes; a password in it goes into no file."""
    sys.argv[1:] = with_recorded_choices(without_passwords(sys.argv[1:]))
    _command()


@command("search")
def _command(cfg: DictConfig) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if cfg.replay is not None:
        if not replay(cfg):
            raise SystemExit(EXIT_DIFFERENT)
        return
    require_choice(cfg, "hardware", "nas.search")
    options = settings(cfg, SearchSettings)
    check(options)
    with ExitStack() as opened:
        _search(options, opened)


def _search(options: SearchSettings, opened: ExitStack) -> None:
    console = Console(emoji=False)
    share = _sharing(options, console, opened) if options.storage else None
    table = table_of(options)
    targets = targets_of(options, table, console)
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    identity = identity_of(options, targets, None)
    folder.check_same_search({name: identity[name] for name in identity.keys() - {"data", "study"}})
    data = load_data(options.data, console)
    identity = identity_of(options, targets, data)
    folder.check_same_search(identity)
    proxy: Proxy = make_judge(options.proxy, f"proxy {choice('proxy')}", "predict", data)
    pruner = _pruner(options, proxy, targets)
    _warn_of_random_search(options, targets, console)
    facts = facts_of(options, table, identity)
    workers = _workers(options, proxy, data, console)
    opened.callback(workers.close)
    journal = Journal(folder.journal)
    opened.callback(journal.close)
    run_id = folder.run_id()
    records = {"run": run_id, **recorded_options(options)}
    folder.write_environment(identity, {**facts, **records})
    storage = share(journal, identity, run_id) if share else journal
    searches = [
        TargetSearch(
            target=target,
            table=table,
            proxy=proxy,
            storage=storage,
            make_sampler=_sampler_maker(options, run_id),
            sampler_name=choice("sampler"),
            pruner=pruner,
            workers=workers,
        )
        for target in targets
    ]
    run = Run(
        folder=folder,
        table=table,
        proxy=proxy,
        workers=workers,
        searches=searches,
        facts=facts,
        console=console,
    )
    run.execute()


def _sharing(
    options: SearchSettings, console: Console, opened: ExitStack
) -> Callable[[Journal, dict[str, Any], str], Storage]:
    """Connect to the storage at once, and return what shares a run's studies there."""
    from nas.search.connection import connect  # with sqlalchemy, which takes a while
    from nas.search.shared import SharedStudies

    connection = connect(str(options.storage))
    opened.callback(connection.close)

    def share(journal: Journal, identity: dict[str, Any], run_id: str) -> Storage:
        return SharedStudies(
            connection,
            journal,
            name=identity["study"],
            identity=shared_identity(identity),
            run=run_id,
            wait_s=options.storage_wait_s,
            say=lambda text: console.print(escape(text), style="yellow", soft_wrap=True),
        )

    return share


def _workers(options: SearchSettings, proxy: Proxy, data: Any, console: Console) -> Workers:
    return ChosenWorkers.of(options.workers, options.data, data, console).judges(
        options.proxy,
        f"proxy {choice('proxy')}",
        proxy,
        trains=isinstance(proxy, Trainer),
        learns=isinstance(proxy, Learner),
    )


def _pruner(options: SearchSettings, proxy: Proxy, targets: list[Target]) -> BasePruner | None:
    name = choice("pruner")
    pruner: BasePruner = make(options.pruner, f"pruner {name}", "prune")
    if isinstance(pruner, NopPruner):
        return None
    if not isinstance(proxy, Trainer):
        raise NasError(
            f"pruner={name} stops trainings, but proxy {choice('proxy')} trains no network by "
            "itself. Leave it out, or choose proxy=short_train."
        )
    if len(targets[0].objective.directions) > 1:
        raise NasError(
            f"pruner={name} needs one figure to judge by, but objective {choice('objective')} has "
            "several. Leave it out, or choose objective=reward."
        )
    return pruner


def _warn_of_random_search(
    options: SearchSettings, targets: list[Target], console: Console
) -> None:
    n_random = options.sampler.get("population_size", 0)
    if n_random >= max(target.n_trials for target in targets):
        console.print(
            f"[yellow]sampler {choice('sampler')} starts with {n_random} random networks, so that "
            f"{targets[0].n_trials} trials are a random search:[/] try sampler=tpe",
            soft_wrap=True,
        )


def _without(node: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in keys}


def _sampler_maker(options: SearchSettings, run_id: str) -> Callable[[int], BaseSampler]:
    node = _without(options.sampler, "n_trials")
    name = f"sampler {choice('sampler')}"

    def make_sampler(n_stored: int) -> BaseSampler:
        seed = options.seed + n_stored
        if options.storage:  # commands that share a study start alike, and must not draw alike
            text = f"{seed} {run_id}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) // 2
        sampler: BaseSampler = make({**node, "seed": seed}, name, "before_trial")
        return sampler

    return make_sampler


if __name__ == "__main__":
    main()
