"""Search networks for a target CPU: `python -m nas.search +hardware=pixel_cpu`.

For each target (large, small) a study maximises accuracy x (latency / target) ^ w; the winners, the
Pareto front, the comparison with the hand-designed networks and the report go to the run folder.
The same command with the same `hydra.run.dir=` continues a run.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from rich.console import Console
from rich.markup import escape

from nas.arch import Arch
from nas.chosen_data import load_data, make_judge
from nas.chosen_workers import ChosenWorkers
from nas.commands import choice, command, make, require_choice, settings
from nas.errors import NasError, unknown
from nas.latency.table import LatencyTable
from nas.paths import find, names
from nas.results import RunFolder, file_hash
from nas.search.journal import Journal
from nas.search.records import Learner, Proxy, Target, Trainer
from nas.search.run import Run
from nas.search.study import TargetSearch
from nas.space import SearchSpace
from nas.text import integer, short_text
from nas.workers.contract import Workers


@dataclass(kw_only=True)
class TargetSettings:
    """A target's space and the exponent of its soft reward."""

    space: str
    exponent: float = -0.07


@dataclass(kw_only=True)
class SearchSettings:
    """The options of conf/search.yaml, typed."""

    hardware: dict[str, Any]
    objective: dict[str, Any]
    proxy: dict[str, Any]
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    workers: dict[str, Any]
    large: TargetSettings
    small: TargetSettings
    data: dict[str, Any] | None = None
    table: str | None = None
    targets: list[str] = field(default_factory=lambda: ["large", "small"])
    space: str | None = None
    target_ms: float | None = None
    n_trials: int | None = None
    seed: int = 0


@command("search")
def main(cfg: DictConfig) -> None:
    """Run the search that the config describes."""
    require_choice(cfg, "hardware", "nas.search")
    options = settings(cfg, SearchSettings)
    _check(options)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console = Console(emoji=False)
    table = _table(options)
    targets = _targets(options, table, console)
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    identity = _identity(options, targets)
    folder.check_same_search(identity)
    data = load_data(options.data, console)
    proxy: Proxy = make_judge(options.proxy, f"proxy {choice('proxy')}", "predict", data)
    pruner = _pruner(options, proxy, targets)
    _warn_of_random_search(options, targets, console)
    facts = _facts(options, table)
    workers = _workers(options, proxy, data, console)
    journal = Journal(folder.journal)
    try:
        folder.write_environment(identity, facts)
        searches = [
            TargetSearch(
                target=target,
                table=table,
                proxy=proxy,
                journal=journal,
                make_sampler=_sampler_maker(options),
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
    finally:
        workers.close()
        journal.close()


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


def _check(options: SearchSettings) -> None:
    if options.n_trials is not None and not 1 <= options.n_trials <= 10**6:
        raise NasError(f"n_trials must be from 1 to 1000000, but is {options.n_trials}.")
    if not 0 <= options.seed < 2**31:
        raise NasError(f"seed must be from 0 to 2147483647, but is {options.seed}.")
    for key in ("name", "table"):
        short_text(options.hardware.get(key), f"hardware.{key}")
    for group in ("proxy", "sampler"):
        own = getattr(options, group).get("n_trials")
        if own is not None or group == "sampler":
            integer(own, f"{group}.n_trials")
    if not options.targets:
        raise NasError("targets must name large, small or both, but is empty.")


def _table_name(options: SearchSettings) -> str:
    return options.table or str(options.hardware["table"])


def _table(options: SearchSettings) -> LatencyTable:
    name = _table_name(options)
    if options.table is None and name not in names("latency_tables", ".csv"):
        raise NasError(
            f"hardware {options.hardware['name']} has no latency_tables/{name}.csv yet. Write it: "
            f"python -m nas.latency +hardware={options.hardware['name']}"
        )
    return LatencyTable.load(name)


def _targets(options: SearchSettings, table: LatencyTable, console: Console) -> list[Target]:
    found = [
        _target(options, table, console, name, own) for name, own in _named_targets(options).items()
    ]
    targets = [one for one in found if isinstance(one, Target)]
    if not targets:
        raise NasError(" ".join(one for one in found if isinstance(one, str)))
    for one in found:
        if isinstance(one, str):
            console.print(f"[yellow]left out:[/] {escape(one)}")
    return targets


def _named_targets(options: SearchSettings) -> dict[str, TargetSettings]:
    if options.space is not None:
        return {Path(options.space).stem: TargetSettings(space=options.space)}
    own = {"large": options.large, "small": options.small}
    for name in options.targets:
        if name not in list(own):  # it may be a list, which has no hash
            raise unknown("target", name, own)
    return {name: own[name] for name in options.targets}


def _target(
    options: SearchSettings,
    table: LatencyTable,
    console: Console,
    name: str,
    own: TargetSettings,
) -> Target | str:
    """Return the target, or what is wrong with its ms."""
    space = SearchSpace.load(own.space)
    low, high = table.bounds_ms(space)
    target_ms = _target_ms(options, table, space)
    console.print(
        f"[bold]{escape(name)}[/]: {space.size:.3g} networks ({escape(space.name)}), "
        f"{len(space.layers())} layers, all in table {escape(table.name)}; "
        f"{low:.2f} to {high:.2f} ms, target {target_ms:.2f} ms",
        highlight=False,
        soft_wrap=True,
    )
    if not low <= target_ms <= high:
        return (
            f"target_ms must be from {low:.3f} to {high:.3f} for {space.name} on {table.name}, "
            f"but is {target_ms:g}."
        )
    objective = dict(options.objective)
    if objective.get("exponent", 0) is None:
        objective["exponent"] = own.exponent
    return Target(
        name=name,
        space=space,
        target_ms=target_ms,
        objective=make(objective, f"objective {choice('objective')}", "directions"),
        n_trials=options.n_trials or options.proxy.get("n_trials") or options.sampler["n_trials"],
        risk=_risk(options),
    )


def _risk(options: SearchSettings) -> float:
    risk = options.proxy.get("risk", 0)
    if isinstance(risk, bool) or not isinstance(risk, (int, float)) or not 0 <= risk <= 10:
        raise NasError(f"proxy.risk must be from 0 to 10 standard deviations, but is {risk}.")
    return float(risk)


def _target_ms(options: SearchSettings, table: LatencyTable, space: SearchSpace) -> float:
    if options.target_ms is not None:
        return options.target_ms
    if space.reference is None:
        low, high = table.bounds_ms(space)
        raise NasError(
            f"{space.name} names no reference network, so target_ms= must be given, from "
            f"{low:.3f} to {high:.3f} ms on {table.name}. Try target_ms={(low + high) / 2:.3g}"
        )
    return table.predict_ms(Arch.load(space.reference))


def _sampler_maker(options: SearchSettings) -> Callable[[int], BaseSampler]:
    node = _without(options.sampler, "n_trials")
    name = f"sampler {choice('sampler')}"

    def make_sampler(n_stored: int) -> BaseSampler:
        sampler: BaseSampler = make({**node, "seed": options.seed + n_stored}, name, "before_trial")
        return sampler

    return make_sampler


def _identity(options: SearchSettings, targets: list[Target]) -> dict[str, Any]:
    """Return what two runs must share for one to continue the other."""
    spaces = {name: own.space for name, own in _named_targets(options).items()}
    return {
        "hardware": options.hardware["name"],
        "table": _table_name(options),
        "table_hash": file_hash(find("latency_tables", _table_name(options), ".csv")),
        "space_hashes": {
            name: file_hash(find("search_spaces", space, ".yaml")) for name, space in spaces.items()
        },
        "targets_ms": {target.name: target.target_ms for target in targets},
        "proxy": options.proxy,
        "objective": options.objective,
        "sampler": options.sampler,
        "pruner": options.pruner,
        "seed": options.seed,
    }


def _facts(options: SearchSettings, table: LatencyTable) -> dict[str, str]:
    kept = ("device", "cpu", "runtime", "threads", "dtype", "source", "error")
    return {
        "hardware": str(options.hardware["name"]),
        "table": table.name,
        **{f"table {key}": table.header[key] for key in kept if key in table.header},
        **{group: choice(group) for group in ("proxy", "sampler", "objective", "workers")},
        **({"data": choice("data")} if options.data else {}),
        "seed": str(options.seed),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


if __name__ == "__main__":
    main()
