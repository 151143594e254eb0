"""What a search keeps of each network's choices: a byte a choice, read like a dictionary."""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from typing import Any


class Catalogue:
    """What a space offers, by which the choices of a network are written in few bytes."""

    def __init__(self, offered: Mapping[str, Sequence[Any]]) -> None:
        self.offered = {name: tuple(values) for name, values in offered.items()}
        self._places = {name: place for place, name in enumerate(self.offered)}
        is_narrow = all(len(values) <= 256 for values in self.offered.values())
        self._pack: Callable[[list[int]], Sequence[int]] = bytes if is_narrow else tuple
        self._last: Sequence[int] = ()

    def codes(self, chosen: Mapping[str, Any]) -> Sequence[int] | None:
        """Return the place of each choice among what is offered; None where one has no place."""
        if len(chosen) != len(self.offered):
            return None
        try:
            codes = self._pack([one.index(chosen[name]) for name, one in self.offered.items()])
        except (KeyError, ValueError):
            return None
        if codes != self._last:
            self._last = codes
        return self._last  # one object for all that keep a trial

    def value(self, codes: Sequence[int], name: str) -> Any:
        """Return one of the choices that were written as `codes`."""
        return self.offered[name][codes[self._places[name]]]

    def plain(self, codes: Sequence[int]) -> dict[str, Any]:
        """Return the choices that were written as `codes`."""
        return {
            name: values[code]
            for (name, values), code in zip(self.offered.items(), codes, strict=True)
        }

    def kept(self, chosen: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return equal choices in little memory; those of another space as they are."""
        codes = self.codes(chosen)
        return dict(chosen) if codes is None else Chosen(self, codes)


class Chosen(Mapping[str, Any]):
    """The choices of one network, in the order of the space."""

    __slots__ = ("_catalogue", "_codes")

    def __init__(self, catalogue: Catalogue, codes: Sequence[int]) -> None:
        self._catalogue, self._codes = catalogue, codes

    def __getitem__(self, name: str) -> Any:
        return self._catalogue.value(self._codes, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogue.offered)

    def __len__(self) -> int:
        return len(self._codes)

    def __repr__(self) -> str:
        return repr(self.plain())

    def __eq__(self, other: object) -> bool:
        return self.plain() == (other.plain() if isinstance(other, Chosen) else other)

    __hash__ = None  # type: ignore[assignment]

    def items(self) -> ItemsView[str, Any]:
        """Return names and values, more quickly than one by one."""
        return self.plain().items()

    def plain(self) -> dict[str, Any]:
        """Return them as a dictionary."""
        return self._catalogue.plain(self._codes)
