"""A search space: every network that a space file allows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from nas.arch import MAX_CHANNELS, Arch, Layer
from nas.cost import count_macs
from nas.errors import NasError, shown, unknown
from nas.paths import find
from nas.scaling import SCALINGS
from nas.sections import SQUEEZES, Section, read_section
from nas.space_bounds import check_places, check_work
from nas.text import check_keys, integer, read_yaml, short_text

KEYS = ("version", "name", "resolution", "num_classes", "stem", "stages", "head")
OPTIONAL_KEYS = ("in_channels", "scaling", "squeeze", "reference")
MAX_STAGES = 30
State = tuple[int, int]
"""Channels and size in pixels between two sections."""


class Trial(Protocol):
    """What `SearchSpace.sample` asks of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of the choices."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Networks made of sections (stem, stages, head), one choice a key of a section.

    `reference` names the hand-designed network whose latency is the search's default target.
    """

    name: str
    resolution: int
    in_channels: int
    sections: tuple[Section, ...]
    scaling: str = "mobilenet_v3"
    reference: str | None = None

    @cached_property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Return what is to be chosen: names like `stage2.kernel` and their values."""
        return {name: values for part in self.sections for name, values in part.choices.items()}

    @property
    def n_choices(self) -> int:
        """Return the number of ways to choose; several may give the same network."""
        return prod(len(values) for values in self.choices.values())

    def arch(self, chosen: Mapping[str, Any]) -> Arch:
        """Return the network of one value for every choice.

        Raises:
            NasError: a choice that is missing, unknown or not offered.
        """
        for name in chosen:
            if name not in self.choices:
                raise unknown(f"choice of {self.name}:", name, self.choices)
        layers: list[Layer] = []
        channels, size = self.in_channels, self.resolution
        for part in self.sections:
            layers += part.layers(part.pick(chosen), channels, size)
            channels, size = layers[-1].out_channels, layers[-1].out_size
        return Arch(name=self.name, layers=tuple(layers), scaling=self.scaling)

    def sample(self, trial: Trial) -> Arch:
        """Return the network that an Optuna trial chooses.

        Every name is suggested on every trial, also what lies beyond a stage's depth: NSGA-II
        samples from the names that past trials share.
        """
        return self.arch(
            {name: trial.suggest_categorical(name, list(v)) for name, v in self.choices.items()}
        )

    def random(self, seed: int | np.random.Generator) -> Arch:
        """Return a network with every choice drawn uniformly."""
        rng = np.random.default_rng(seed)
        return self.arch({name: v[rng.integers(len(v))] for name, v in self.choices.items()})

    @cached_property
    def size(self) -> int:
        """Return the exact number of different networks.

        Different choices can give equal layers, and the border between two stages can be drawn in
        several places; so the sequences of layers are counted, by the subset construction.
        """
        return _count_sequences(_Automaton(self.sections), frozenset([(0, self._start, 0)]))

    def layers(self) -> tuple[Layer, ...]:
        """Return every distinct layer that a network of the space may hold, in network order."""
        found: dict[Layer, None] = {}
        for variants in self.walk():
            for variant in variants:
                found.update(dict.fromkeys(variant))
        return tuple(found)

    def walk(self) -> Iterable[tuple[tuple[Layer, ...], ...]]:
        """Yield the variants of every section for every state that can reach it."""
        states = {self._start}
        for part in self.sections:
            following: set[State] = set()
            for channels, size in sorted(states):
                variants = part.variants(channels, size)
                following |= {_end(variant) for variant in variants}
                yield variants
            states = following

    def extreme(
        self, cost: Callable[[Layer], float], best: Callable[[Iterable[float]], float]
    ) -> float:
        """Return the least (`best=min`) or greatest (`max`) sum of `cost` over all networks."""
        totals = {self._start: 0.0}
        for part in self.sections:
            found: dict[State, list[float]] = {}
            for state, total in totals.items():
                for variant in part.variants(*state):
                    found.setdefault(_end(variant), []).append(total + sum(map(cost, variant)))
            totals = {state: best(sums) for state, sums in found.items()}
        return best(totals.values())

    def nearest(self, arch: Arch) -> dict[str, Any]:
        """Return the choices whose network is nearest to `arch`, of the same depth in all stages.

        Near means: fewest layers differ, then the least difference of their MAdds.

        Raises:
            NasError: no network of the space has as many layers of the same sizes.
        """
        paths: dict[tuple[State, int], _Path] = {(self._start, 0): ((0, 0), {})}
        for part in self.sections:
            paths = _extend(paths, part, arch.layers)
        ends = [path for (_, used), path in paths.items() if used == len(arch.layers)]
        if not ends:
            raise NasError(f"{self.name} holds no network with the stages of {arch.name}.")
        return min(ends, key=lambda path: path[0])[1]

    @property
    def _start(self) -> State:
        return self.in_channels, self.resolution

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a space file: a shipped name or a path.

        Raises:
            NasError: the file is missing or says something that no space can be.
        """
        path = find("search_spaces", name_or_path, ".yaml")
        where = str(path)
        content = read_yaml(path)
        check_keys(content, where, KEYS, OPTIONAL_KEYS)
        if content["version"] != 1:
            raise NasError(f"{where} must have version 1, but has {shown(content['version'])}.")
        resolution = integer(content["resolution"], f"resolution of {where}", 8, 2048)
        in_channels = integer(
            content.get("in_channels", 3), f"in_channels of {where}", 1, MAX_CHANNELS
        )
        sections = _read_sections(content, where)
        check_work(sections, in_channels, resolution, where)
        return cls(
            name=short_text(content["name"], f"name of {where}"),
            resolution=resolution,
            in_channels=in_channels,
            sections=sections,
            scaling=_scaling(content, where),
            reference=_reference(content, where),
        )


def _scaling(content: Mapping[str, Any], where: str) -> str:
    scaling = content.get("scaling", "mobilenet_v3")
    if scaling not in SCALINGS:
        raise unknown(f"scaling of {where}:", scaling, SCALINGS)
    return str(scaling)


def _reference(content: Mapping[str, Any], where: str) -> str | None:
    reference = content.get("reference")
    if reference is None:
        return None
    name = short_text(reference, f"reference of {where}")
    if len(Path(name).parts) != 1 or Path(name).suffix == ".yaml" or name == "..":
        raise NasError(
            f"reference of {where} must be the name of a network in search_spaces/baselines, but "
            f"is {shown(name)}. Give the name alone."
        )
    return name


def _read_sections(content: Mapping[str, Any], where: str) -> tuple[Section, ...]:
    squeeze = content.get("squeeze", "expansion")
    if squeeze not in SQUEEZES:
        raise unknown(f"squeeze of {where}:", squeeze, SQUEEZES)
    num_classes = integer(content["num_classes"], f"num_classes of {where}", 1, MAX_CHANNELS)
    stages = content["stages"]
    if not isinstance(stages, list) or not 1 <= len(stages) <= MAX_STAGES:
        raise NasError(
            f"stages of {where} must be a list of 1 to {MAX_STAGES} stages, but is {shown(stages)}."
        )
    return (
        read_section(content["stem"], "stem", "stem", squeeze, where),
        *(
            read_section(stage, f"stage{number}", "stage", squeeze, where)
            for number, stage in enumerate(stages, start=1)
        ),
        read_section(content["head"], "head", "head", num_classes, where),
    )


def _end(variant: tuple[Layer, ...]) -> State:
    return variant[-1].out_channels, variant[-1].out_size


_Item = tuple[int, State, int]
"""Section, the state that it began in, and the node of its prefix tree that was reached."""
_Step = tuple[Layer, _Item]


class _Automaton:
    """Reads a network layer by layer and knows every place of the space where it may be."""

    def __init__(self, sections: tuple[Section, ...]) -> None:
        self._sections = sections
        self._steps: dict[tuple[int, State], list[list[_Step]]] = {}
        self._following: dict[frozenset[_Item], list[frozenset[_Item]]] = {}
        self._n_places = 0

    def is_end(self, items: frozenset[_Item]) -> bool:
        """Tell whether a network may end here."""
        return any(number == len(self._sections) for number, _, _ in items)

    def following(self, items: frozenset[_Item]) -> list[frozenset[_Item]]:
        """Return, for each different next layer, the places that it leads to."""
        if items not in self._following:
            targets: dict[Layer, set[_Item]] = {}
            for number, state, node in items:
                for layer, target in self._steps_of(number, state)[node]:
                    targets.setdefault(layer, set()).add(target)
            self._n_places += sum(map(len, targets.values()))
            check_places(self._n_places)
            self._following[items] = [frozenset(places) for places in targets.values()]
        return self._following[items]

    def _steps_of(self, number: int, state: State) -> list[list[_Step]]:
        if number == len(self._sections):
            return [[]]
        if (number, state) not in self._steps:
            variants = self._sections[number].variants(*state)
            self._steps[number, state] = _prefix_tree(variants, number, state)
        return self._steps[number, state]


def _prefix_tree(
    variants: Iterable[tuple[Layer, ...]], number: int, state: State
) -> list[list[_Step]]:
    steps: list[list[_Step]] = [[]]
    nodes: dict[tuple[int, Layer], int] = {}
    for variant in variants:
        node = 0
        for layer in variant[:-1]:
            if (node, layer) not in nodes:
                nodes[node, layer] = len(steps)
                steps[node].append((layer, (number, state, len(steps))))
                steps.append([])
            node = nodes[node, layer]
        steps[node].append((variant[-1], (number + 1, _end(variant), 0)))
    return steps


def _count_sequences(automaton: _Automaton, start: frozenset[_Item]) -> int:
    total, counts = 0, {start: 1}
    while counts:
        following: dict[frozenset[_Item], int] = {}
        for items, count in counts.items():
            total += count if automaton.is_end(items) else 0
            for targets in automaton.following(items):
                following[targets] = following.get(targets, 0) + count
        counts = following
    return total


_Path = tuple[tuple[int, int], dict[str, Any]]
"""Differing layers and their MAdds, with the choices that led there."""


def _extend(
    paths: Mapping[tuple[State, int], _Path], part: Section, layers: tuple[Layer, ...]
) -> dict[tuple[State, int], _Path]:
    found: dict[tuple[State, int], _Path] = {}
    for (state, used), (distance, chosen) in paths.items():
        for values in part.settings():
            variant = part.layers(tuple(values.values()), *state)
            wanted = layers[used : used + len(variant)]
            if len(wanted) < len(variant) or _end(wanted)[1] != _end(variant)[1]:
                continue
            differing, macs = _distance(variant, wanted)
            total = (distance[0] + differing, distance[1] + macs)
            end = (_end(variant), used + len(variant))
            if end not in found or total < found[end][0]:
                names = {f"{part.name}.{key}": value for key, value in values.items()}
                kept = {name: names[name] for name in part.choices}
                found[end] = (total, chosen | kept)
    return found


def _distance(variant: tuple[Layer, ...], wanted: tuple[Layer, ...]) -> tuple[int, int]:
    pairs = list(zip(variant, wanted, strict=True))
    differing = sum(ours != theirs for ours, theirs in pairs)
    return differing, sum(abs(count_macs(ours) - count_macs(theirs)) for ours, theirs in pairs)
