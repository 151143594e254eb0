"""The options of a search, and what is made of them: table, targets, identity."""

import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.markup import escape

from nas.arch import Arch
from nas.commands import choice, make
from nas.errors import NasError, shown, unknown
from nas.latency.table import LatencyTable
from nas.paths import find, names
from nas.proxies.surrogate import SHIPPED
from nas.results import file_hash
from nas.search.identity import digest, shared_identity
from nas.search.records import Target
from nas.search.replay import GROUPS
from nas.space import SearchSpace
from nas.text import integer, short_text


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
    storage: str | None = None
    study: str | None = None
    storage_wait_s: float = 60.0
    replay: str | None = None
    trial: int | None = None


def check(options: SearchSettings) -> None:
    """Refuse what cannot be meant.

    Raises:
        NasError: an option out of its bounds, or two that exclude each other.
    """
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
    _check_storage(options)
    if not options.targets:
        raise NasError("targets must name large, small or both, but is empty.")


def _check_storage(options: SearchSettings) -> None:
    if not 0 <= options.storage_wait_s <= 86400:
        raise NasError(f"storage_wait_s must be from 0 to 86400, but is {options.storage_wait_s}.")
    if options.study is None:
        return
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", options.study):
        raise NasError(
            "study must be 1 to 100 letters, digits, dots, dashes and underscores, but is "
            f"{shown(options.study)}."
        )
    if options.storage is None:
        raise NasError("study= names what commands share in a storage. Add storage=, or leave it.")


def _table_name(options: SearchSettings) -> str:
    return options.table or str(options.hardware["table"])


def table_of(options: SearchSettings) -> LatencyTable:
    """Load the table that the options name.

    Raises:
        NasError: it is not there, or cannot be read.
    """
    name = _table_name(options)
    if options.table is None and name not in names("latency_tables", ".csv"):
        raise NasError(
            f"hardware {options.hardware['name']} has no latency_tables/{name}.csv yet. Write it: "
            f"python -m nas.latency +hardware={options.hardware['name']}"
        )
    return LatencyTable.load(name)


def targets_of(options: SearchSettings, table: LatencyTable, console: Console) -> list[Target]:
    """Return the targets whose latency can be reached, and say what was left out.

    Raises:
        NasError: none can be.
    """
    found = [
        _target(options, table, console, name, own) for name, own in named_targets(options).items()
    ]
    targets = [one for one in found if isinstance(one, Target)]
    if not targets:
        raise NasError(" ".join(one for one in found if isinstance(one, str)))
    for one in found:
        if isinstance(one, str):
            console.print(f"[yellow]left out:[/] {escape(one)}")
    return targets


def named_targets(options: SearchSettings) -> dict[str, TargetSettings]:
    """Return each target's space and exponent by its name.

    Raises:
        NasError: a target that is unknown.
    """
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


def identity_of(options: SearchSettings, targets: list[Target], data: Any) -> dict[str, Any]:
    """Return what two runs must share for one to continue the other."""
    own = named_targets(options)
    spaces = {name: one.space for name, one in own.items()}
    identity = {
        "hardware": options.hardware["name"],
        "table": _table_name(options),
        "table_hash": file_hash(find("latency_tables", _table_name(options), ".csv")),
        "space_hashes": {
            name: file_hash(find("search_spaces", space, ".yaml")) for name, space in spaces.items()
        },
        "spaces": spaces,
        "exponents": {name: one.exponent for name, one in own.items()},
        "targets_ms": {target.name: target.target_ms for target in targets},
        "proxy": options.proxy,
        "surrogate_hash": _surrogate_hash(options),
        "objective": options.objective,
        "sampler": options.sampler,
        "pruner": options.pruner,
        "data": None if data is None else data.digest,
        "seed": options.seed,
    }
    study = options.study or f"search-{digest(shared_identity(identity))}"
    return identity | {"study": study if options.storage else None}


def recorded_options(options: SearchSettings) -> dict[str, Any]:
    """Return what it takes to make the same things again: the choices, and every option."""
    chosen = HydraConfig.get().runtime.choices
    return {
        "choices": {group: chosen[group] for group in GROUPS if chosen.get(group)},
        "options": asdict(options),
    }


def _surrogate_hash(options: SearchSettings) -> str | None:
    name = options.proxy.get("name_or_path")
    path = None if name is None else SHIPPED.get(str(name), Path(str(name)))
    return None if path is None else file_hash(path)


def facts_of(
    options: SearchSettings, table: LatencyTable, identity: dict[str, Any]
) -> dict[str, str]:
    """Return what the report and environment.json say of the run."""
    kept = ("device", "cpu", "runtime", "threads", "dtype", "source", "error")
    return {
        "hardware": str(options.hardware["name"]),
        "table": table.name,
        **{f"table {key}": table.header[key] for key in kept if key in table.header},
        **{group: choice(group) for group in ("proxy", "sampler", "objective", "workers")},
        **({"data": choice("data")} if options.data else {}),
        "seed": str(options.seed),
        **(
            {"study": identity["study"], "storage": str(options.storage)} if options.storage else {}
        ),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
