"""Repeat one trial of a run from the run's own records, and hold the figures side by side."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Self

from nas.errors import NasError, NetworkError, shown
from nas.latency.table import LatencyTable
from nas.results import VERSIONS
from nas.search.identity import MACHINES_OWN
from nas.search.records import Evaluation, Finished, Proxy, Target, Trainer
from nas.text import mapping, read_json

GROUPS = ("hardware", "data", "objective", "proxy", "sampler", "pruner")
"""Groups of the config whose choice a run records."""
TOLERANCE = 1e-6
"""Percent, ms and rewards that are as near as this are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a run folder tells of its search: the choices of the config, all options, its identity.

    `environments` are the versions that it ran with, the last session's first.
    """

    path: Path
    choices: dict[str, str]
    options: dict[str, Any]
    identity: dict[str, Any]
    environments: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `environment.json` of a run folder.

        Raises:
            NasError: there is none, or one of a version that did not record the options.
        """
        path = folder / "environment.json"
        content = read_json(path)
        if "options" not in content or "choices" not in content:
            raise NasError(
                f"{path} has no options, as it was written before trials could be repeated. Run "
                "the search again to be able to."
            )
        choices = mapping(content["choices"], f"choices of {path}")
        for group, name in choices.items():
            if group not in GROUPS or not re.fullmatch(r"\w[\w-]{0,99}", str(name)):
                raise NasError(f"{path} cannot have chosen {shown(group)}={shown(name)}.")
        earlier = content.get("earlier", [])
        if not isinstance(earlier, list):
            raise NasError(f"earlier of {path} must be a list, but is {shown(earlier)}.")
        return cls(
            path=folder,
            choices={group: str(name) for group, name in choices.items()},
            options=mapping(content["options"], f"options of {path}"),
            identity=mapping(content.get("search"), f"search of {path}"),
            environments=[content, *(mapping(one, f"earlier of {path}") for one in earlier)],
        )

    def words(self) -> list[str]:
        """Return the choices as words of a command line."""
        return [
            f"+{group}={name}" if group == "hardware" else f"{group}={name}"
            for group, name in self.choices.items()
        ]

    def over(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recorded options in place of those of the config.

        What is made of them, `_target_`, is the config's alone, as a run folder may come from
        anywhere; and so are the storage and what belongs to the machine.

        Raises:
            NasError: the run made something else of an option than the config does.
        """
        kept = ("replay", "trial", "storage", "storage_wait_s", "workers")
        recorded = {name: value for name, value in self.options.items() if name not in kept}
        merged = dict(_merged(options, recorded, f"{self.path}/environment.json"))
        own = {name: options["proxy"][name] for name in MACHINES_OWN if name in options["proxy"]}
        own.pop("data", None)
        where = f"proxy of {self.path}/environment.json"
        merged["proxy"] = {**mapping(merged.get("proxy"), where), **own}
        return merged | {name: options[name] for name in kept if name in options}


def with_recorded_choices(words: Sequence[str]) -> list[str]:
    """Return the command line with the choices of the run that `replay=` names."""
    folder = next((word.partition("=")[2] for word in words if word.startswith("replay=")), None)
    if folder is None:
        return list(words)
    try:
        recorded = RunRecord.read(Path(folder.strip("'\""))).words()
    except NasError:  # the command reads it again, and says so
        return list(words)
    given = {word.lstrip("+").partition("=")[0] for word in words}
    return [*words, *(one for one in recorded if one.lstrip("+").partition("=")[0] not in given)]


def differences(
    record: RunRecord, now: Mapping[str, Any], versions: Mapping[str, Any]
) -> list[str]:
    """Return what is not as it was: files and data that changed, then versions."""
    found = [
        f"{name} is {_short(now.get(name))}, but was {_short(value)}"
        for name, value in record.identity.items()
        if name in now and now[name] != value and name not in ("proxy", "study", "storage")
    ]
    for environment in record.environments:
        for what, current, before in _versions(versions, environment):
            found.append(f"{what} is {_short(current)}, but was {_short(before)}")
    return list(dict.fromkeys(found))


def repeated(finished: Finished, target: Target, table: LatencyTable, proxy: Proxy) -> Evaluation:
    """Judge the network of a trial again.

    A training that was stopped is stopped after as many epochs. The deviation that a proxy gives
    that trains each network depends on all its trainings, so it is taken as it was.

    Raises:
        NasError: the choices are none of the space any more.
    """
    arch = target.space.arch(finished.choices)
    before = finished.evaluation
    figures: dict[str, Any] = {"key": arch.key(), "ms": table.predict_ms(arch)}
    try:
        if before.state == "pruned" and isinstance(proxy, Trainer):
            last = 0.0

            def is_over(epoch: int, top1: float) -> bool:
                nonlocal last
                last = top1
                return epoch >= len(finished.reports)

            proxy.evaluate(arch, is_over)
            return Evaluation(**figures, top1=last, top1_std=before.top1_std, state="pruned")
        means, stds = proxy.predict([arch])
    except Exception as error:
        if before.state != "failed" and not isinstance(error, NetworkError):
            raise
        return Evaluation(**figures, top1=0.0, top1_std=0.0, state="failed")
    top1, std = float(means[0]), float(stds[0])
    if not (isfinite(top1) and isfinite(std)):
        return Evaluation(**figures, top1=0.0, top1_std=0.0, state="failed")
    std = before.top1_std if isinstance(proxy, Trainer) else std
    return Evaluation(**figures, top1=top1, top1_std=std)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a trial as it was recorded and as it was repeated."""

    name: str
    recorded: float | str
    repeated: float | str

    @property
    def agrees(self) -> bool:
        """Tell whether both are the same."""
        if isinstance(self.recorded, str) or isinstance(self.repeated, str):
            return self.recorded == self.repeated
        return abs(self.recorded - self.repeated) <= TOLERANCE


def figures(finished: Finished, again: Evaluation, target: Target) -> list[Figure]:
    """Return the figures of a trial, recorded and repeated."""
    before = finished.evaluation
    found = [
        Figure(name=name, recorded=getattr(before, name), repeated=getattr(again, name))
        for name in ("key", "state", "ms", "top1", "top1_std")
    ]
    if before.is_whole and again.is_whole:
        top1 = again.cautious_top1(target.risk)
        values = target.objective.values(top1, again.ms, target.target_ms)
        found += [
            Figure(name=f"value {number}", recorded=recorded, repeated=value)
            for number, (recorded, value) in enumerate(zip(finished.values, values, strict=True))
        ]
    return found


def _merged(config: Any, recorded: Any, where: str) -> Any:
    if isinstance(recorded, list):
        return [_merged(None, one, where) for one in recorded]
    if isinstance(recorded, str) and "${" in recorded:
        raise NasError(f"{where} may hold no interpolation, but has {shown(recorded)}.")
    if not isinstance(recorded, dict):
        return recorded
    own = config if isinstance(config, dict) else {}
    for name, value in recorded.items():
        # Hydra's own keys say what is made: `_target_`, `_args_`, `_partial_`.
        if name.startswith("_") and own.get(name) != value:
            raise NasError(
                f"{where} has {name} {shown(value)} where the config has {shown(own.get(name))}. A "
                "run folder may not choose what is made: add the option that did to the command."
            )
    kept = {name: value for name, value in own.items() if name.startswith("_")}
    return kept | {name: _merged(own.get(name), value, where) for name, value in recorded.items()}


def _versions(
    now: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    for name in VERSIONS:
        one, other = now.get(name), before.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from (
                (package, one[package], other[package])
                for package in one.keys() & other.keys()
                if one[package] != other[package]
            )
        elif one != other:
            yield name, one, other


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
