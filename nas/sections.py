"""The parts of a search space: what each may be, and the layers that a choice makes of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from nas.arch import ACT_WORDS, Layer
from nas.errors import NasError, shown, unknown
from nas.scaling import make_divisible
from nas.text import check_keys, integer, mapping

MAX_OPTIONS = 20_000
KEYS = {
    "stem": ("out", "kernel", "stride", "act"),
    "stage": ("out", "depth", "stride", "kernel", "expand", "se", "act"),
    "head": ("conv", "hidden", "act"),
}
OPTIONAL_KEYS = {"stem": (), "stage": ("first_expand", "width"), "head": ()}
SQUEEZES = ("expansion", "input")
"""What an SE ratio is a share of: V3's expansion, rounded to 8, or MnasNet's block input."""

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stem, a stage of mbconv layers, or a head: for each key the values that it may take.

    `parent` holds what the whole space fixes: `squeeze` of the stages, `num_classes` of the head.
    """

    name: str
    kind: str
    options: tuple[tuple[str, tuple[Any, ...]], ...]
    parent: str | int

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Return the keys with more than one value, as `<section>.<key>`."""
        return {f"{self.name}.{key}": values for key, values in self.options if len(values) > 1}

    def settings(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of values."""
        keys = [key for key, _ in self.options]
        for values in product(*(values for _, values in self.options)):
            yield dict(zip(keys, values, strict=True))

    def pick(self, chosen: Values) -> tuple[Any, ...]:
        """Return this section's values, in order, out of a whole space's choices.

        Raises:
            NasError: a choice that is missing or that the space does not offer.
        """
        return tuple(
            values[0] if len(values) == 1 else _picked(chosen, f"{self.name}.{key}", values)
            for key, values in self.options
        )

    def layers(self, picked: tuple[Any, ...], channels: int, size: int) -> tuple[Layer, ...]:
        """Return the layers for `channels` at `size` px, with values as `pick` gives them."""
        return _layers(self, picked, channels, size)

    def variants(self, channels: int, size: int) -> tuple[tuple[Layer, ...], ...]:
        """Return every distinct tuple of layers that the section can be."""
        return _variants(self, channels, size)


def _picked(chosen: Values, name: str, values: tuple[Any, ...]) -> Any:
    if name not in chosen:
        raise NasError(f"the choices lack {name}; it may be {', '.join(map(str, values))}.")
    if chosen[name] not in values:
        raise unknown(f"value of {name}", chosen[name], values)
    return chosen[name]


@lru_cache(maxsize=65536)
def _layers(
    section: Section, picked: tuple[Any, ...], channels: int, size: int
) -> tuple[Layer, ...]:
    values = dict(zip((key for key, _ in section.options), picked, strict=True))
    return _BUILD[section.kind](values, section.parent, channels, size)


@lru_cache(maxsize=4096)
def _variants(section: Section, channels: int, size: int) -> tuple[tuple[Layer, ...], ...]:
    build = _BUILD[section.kind]
    return tuple(
        dict.fromkeys(
            build(values, section.parent, channels, size) for values in section.settings()
        )
    )


def _stem(values: Values, _: str | int, channels: int, size: int) -> tuple[Layer, ...]:
    return (
        Layer(
            op="conv",
            size=size,
            in_channels=channels,
            out_channels=values["out"],
            kernel=values["kernel"],
            stride=values["stride"],
            act=values["act"],
        ),
    )


def _stage(values: Values, squeeze: str | int, channels: int, size: int) -> tuple[Layer, ...]:
    out = values["out"]
    if values.get("width", 1) != 1:
        out = make_divisible(out * values["width"])
    layers: list[Layer] = []
    for index in range(values["depth"]):
        expand = values.get("first_expand", values["expand"]) if index == 0 else values["expand"]
        mid = channels if expand == 1 else make_divisible(channels * expand)
        layer = Layer(
            op="mbconv",
            size=size,
            in_channels=channels,
            mid_channels=mid,
            out_channels=out,
            kernel=values["kernel"],
            stride=values["stride"] if index == 0 else 1,
            se=squeeze_channels(values["se"], squeeze, channels, mid),
            act=values["act"],
        )
        layers.append(layer)
        channels, size = out, layer.out_size
    return tuple(layers)


def _head(values: Values, num_classes: str | int, channels: int, size: int) -> tuple[Layer, ...]:
    conv, hidden, act = values["conv"], values["hidden"], values["act"]
    last = Layer(op="conv", size=size, in_channels=channels, out_channels=conv or 1, act=act)
    head = Layer(
        op="head",
        size=size,
        in_channels=conv or channels,
        mid_channels=hidden,
        out_channels=int(num_classes),
        act=act if hidden else "none",
    )
    return (last, head) if conv else (head,)


_BUILD = {"stem": _stem, "stage": _stage, "head": _head}


def squeeze_channels(ratio: float, squeeze: str | int, channels: int, mid: int) -> int:
    """Return the squeeze channels of a block of `channels` expanded to `mid`; 0 for ratio 0."""
    if ratio == 0:
        return 0
    if squeeze == "input":
        return max(1, int(channels * ratio))
    return make_divisible(mid * ratio)


def read_section(content: object, name: str, kind: str, parent: str | int, where: str) -> Section:
    """Read one section of a space file: a list is a choice, a scalar is fixed.

    Raises:
        NasError: an unknown, missing, empty, repeated or impossible value.
    """
    where = f"{where}, {name}"
    content = mapping(content, where)
    check_keys(content, where, KEYS[kind], OPTIONAL_KEYS[kind])
    options = tuple(
        (key, _values(content[key], key, where))
        for key in (*KEYS[kind], *OPTIONAL_KEYS[kind])
        if key in content
    )
    n_options = prod(len(values) for _, values in options)
    if n_options > MAX_OPTIONS:
        raise NasError(f"{where} must have at most {MAX_OPTIONS:,} options, but has {n_options:,}.")
    return Section(name=name, kind=kind, options=options, parent=parent)


def _values(content: object, key: str, where: str) -> tuple[Any, ...]:
    values = content if isinstance(content, list) else [content]
    for value in values:
        _check_value(value, key, f"{key} of {where}")
    if not values or len(set(values)) < len(values):
        raise NasError(f"{key} of {where} must list different values, but lists {shown(values)}.")
    return tuple(values)


def _check_value(value: Any, key: str, where: str) -> None:
    if key == "act":
        if not isinstance(value, str) or value not in ACT_WORDS:
            raise unknown(f"activation in {where}:", value, ACT_WORDS)
    elif key in _RATIOS:
        low, high = _RATIOS[key]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise NasError(f"{where} must be a number from {low} to {high}, but is {shown(value)}.")
    else:
        low, high = _INTEGERS[key]
        integer(value, where, low, high)
        if key == "kernel" and value % 2 == 0:
            raise NasError(f"{where} must be odd, but is {value}.")


# The widest block, 2048 x 2 channels expanded by 16, is just a layer's greatest.
_RATIOS = {"expand": (1, 16), "first_expand": (1, 16), "se": (0, 1), "width": (0.1, 2)}
_INTEGERS = {
    "out": (1, 2048),
    "kernel": (1, 31),
    "stride": (1, 4),
    "depth": (1, 32),
    "conv": (0, 8192),
    "hidden": (0, 8192),
}
