"""The places of a space's networks: which layers may stand there, and where a layer stands."""

from collections.abc import Iterator
from functools import lru_cache

from nas.arch import Arch, Layer
from nas.sections import Section
from nas.space import SearchSpace, State

Places = tuple[str, ...]
"""The place of each layer of a network, e.g. `stage2_0` for the first block of stage 2."""
Variant = tuple[Layer, ...]
"""The layers that a section may be."""


def places_of(space: SearchSpace, arch: Arch) -> Places | None:
    """Return the place of each layer of a network, None where the space does not hold it.

    The number of classes is no matter. A border between two stages that can be drawn in several
    places is always drawn in the same one.
    """
    layers = arch.with_num_classes(_num_classes(space)).layers
    paths: dict[tuple[State, int], Places] = {(_start(space), 0): ()}
    for part in space.sections:
        found: dict[tuple[State, int], Places] = {}
        for (state, used), places in paths.items():
            variants = _variants(part, *state)
            for length in sorted({len(variant) for variant in variants}):
                if layers[used : used + length] in variants:
                    end = _end(layers[used : used + length]), used + length
                    found.setdefault(end, places + _names(part, length))
        paths = found
    return next((places for (_, used), places in paths.items() if used == len(layers)), None)


def cover(space: SearchSpace) -> Iterator[tuple[Arch, Places]]:
    """Yield a few networks that hold between them every layer that may stand at any place."""
    waiting = _Waiting(space)
    prefixes: dict[State, tuple[Variant, Places]] = {_start(space): ((), ())}
    for number, part in enumerate(space.sections):
        following: dict[State, tuple[Variant, Places]] = {}
        for state, (layers, places) in prefixes.items():
            for variant in part.variants(*state):
                held = (*layers, *variant), (*places, *_names(part, len(variant)))
                following.setdefault(_end(variant), held)
            while waiting.are_left(number, state):
                rest, names = waiting.rest(number, state)
                arch = Arch(name=space.name, layers=layers + rest, scaling=space.scaling)
                yield arch, places + names
        prefixes = following


class _Waiting:
    """The variants of each section and state that no network was made of yet."""

    def __init__(self, space: SearchSpace) -> None:
        self._sections = space.sections
        self._left: dict[tuple[int, State], list[Variant]] = {}

    def are_left(self, number: int, state: State) -> bool:
        return bool(self._of(number, state))

    def rest(self, number: int, state: State) -> tuple[Variant, Places]:
        """Return the end of a network from a section on, of waiting variants where there are."""
        layers: Variant = ()
        places: Places = ()
        for index, part in enumerate(self._sections[number:], start=number):
            left = self._of(index, state)
            variant = left.pop() if left else part.variants(*state)[0]
            layers, places = layers + variant, places + _names(part, len(variant))
            state = _end(variant)
        return layers, places

    def _of(self, number: int, state: State) -> list[Variant]:
        if (number, state) not in self._left:
            self._left[number, state] = list(self._sections[number].variants(*state))
        return self._left[number, state]


@lru_cache(maxsize=4096)
def _variants(part: Section, channels: int, size: int) -> frozenset[Variant]:
    return frozenset(part.variants(channels, size))


def _names(part: Section, length: int) -> Places:
    return tuple(f"{part.name}_{index}" for index in range(length))


def _start(space: SearchSpace) -> State:
    return space.in_channels, space.resolution


def _end(layers: Variant) -> State:
    return layers[-1].out_channels, layers[-1].out_size


def _num_classes(space: SearchSpace) -> int:
    return int(space.sections[-1].parent)
