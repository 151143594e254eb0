"""The record that everything else is computed from: a network is a tuple of layers."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import yaml

from nas.errors import NasError, shown, unknown
from nas.paths import find
from nas.scaling import SCALINGS, scale
from nas.text import check_keys, integer, read_yaml, short_text, write_text

ACT_WORDS = {"relu": "re", "relu6": "r6", "hswish": "hs", "none": "none"}
OP_WORDS = {"conv": "conv", "separable": "sep", "mbconv": "mb", "head": "head"}
SE_WORDS = {"expansion": "seexp", "depthwise": "", "projection": "seproj"}
_OP_NUMBERS = {op: number for number, op in enumerate(OP_WORDS)}
_ACT_NUMBERS = {act: number for number, act in enumerate(ACT_WORDS)}
_SE_NUMBERS = {place: number for number, place in enumerate(SE_WORDS)}
MAX_LAYERS = 1000
MAX_CHANNELS = 65536
SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One block with final integers: a row of a latency table and the argument of a module.

    Ops:
        conv: k x k convolution, batch-norm, activation.
        separable: MobileNetV1's k x k depthwise and 1x1 convolution, each with batch-norm and
            activation.
        mbconv: 1x1 expansion (none where mid equals in), k x k depthwise convolution, optional
            squeeze-and-excite, 1x1 projection (MobileNetV2, V3, MnasNet).
        head: global average pool, optional hidden layer of `mid_channels`, classifier.

    `size` is the input's height and width in pixels, `se` the squeeze channels (0: none).
    `residual` adds the input where stride is 1 and the channels agree; elsewhere it is stored as
    False, so that equal layers are equal. `linear` leaves the projection of an mbconv without
    activation, and is stored as True where there is none to leave out. `se_at` names the
    convolution that squeeze-and-excite follows: the depthwise one, and stored so where there is
    no `se`; the expansion; or the projection, before the residual addition.
    """

    op: str
    size: int
    in_channels: int
    out_channels: int
    mid_channels: int = 0
    kernel: int = 1
    stride: int = 1
    se: int = 0
    act: str = "none"
    residual: bool = True
    linear: bool = True
    se_at: str = "depthwise"
    # Tables are looked up by layer thousands of times a second; the hash is made once, of integers
    # alone, so that it also holds in another process.
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.op not in OP_WORDS:
            raise unknown("op", self.op, OP_WORDS)
        if self.act not in ACT_WORDS:
            raise unknown("activation", self.act, ACT_WORDS)
        if self.se_at not in SE_WORDS:
            raise unknown("se_at", self.se_at, SE_WORDS)
        for name, least, most in _BOUNDS:
            integer(getattr(self, name), f"{name} of a layer {self.op}", least, most)
        _check_unused(self)
        if not self.is_residual_possible:
            object.__setattr__(self, "residual", False)
        if self.act == "none":
            object.__setattr__(self, "linear", True)
        if not self.se:
            object.__setattr__(self, "se_at", "depthwise")
        words = (_OP_NUMBERS[self.op], _ACT_NUMBERS[self.act], _SE_NUMBERS[self.se_at])
        flags = (self.residual, self.linear)
        sizes = (self.size, self.in_channels, self.mid_channels, self.out_channels)
        object.__setattr__(
            self, "_hash", hash((words, flags, sizes, self.kernel, self.stride, self.se))
        )

    def __hash__(self) -> int:
        return self._hash

    @property
    def is_residual_possible(self) -> bool:
        """Tell whether an identity shortcut fits around the layer."""
        return self.op == "mbconv" and self.stride == 1 and self.in_channels == self.out_channels

    @property
    def has_expansion(self) -> bool:
        """Tell whether the layer is an mbconv that expands its input."""
        return self.op == "mbconv" and self.mid_channels != self.in_channels

    @property
    def out_size(self) -> int:
        """Return the output's height and width in pixels."""
        return 1 if self.op == "head" else -(-self.size // self.stride)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the one-line form, e.g. `mb k5 24>72>40 s2 se24 re @56`.

        Raises:
            NasError: a word that is unknown, twice or missing.
        """
        return cls(**_fields_of(text))

    def __str__(self) -> str:
        return _text_of(self)


_BOUNDS = (
    ("size", 1, 8192),
    ("in_channels", 1, MAX_CHANNELS),
    ("mid_channels", 0, MAX_CHANNELS),
    ("out_channels", 1, MAX_CHANNELS),
    ("kernel", 1, 31),
    ("stride", 1, 4),
    ("se", 0, MAX_CHANNELS),
)


def _check_unused(layer: Layer) -> None:
    if layer.kernel % 2 == 0:
        raise NasError(f"kernel must be odd, but is {layer.kernel} in a layer {layer.op}.")
    if layer.op == "mbconv":
        if layer.mid_channels == 0:
            raise NasError("mid_channels of an mbconv must be at least 1, but is 0.")
        return
    if layer.op in ("conv", "separable") and layer.mid_channels:
        raise NasError(f"a layer {layer.op} has no mid_channels, but got {layer.mid_channels}.")
    if layer.se or not layer.linear:
        raise NasError(f"se and linear=False belong to an mbconv, not to a layer {layer.op}.")
    if layer.op == "head":
        if (layer.kernel, layer.stride) != (1, 1):
            raise NasError(f"a head has kernel 1 and stride 1, not {layer.kernel}, {layer.stride}.")
        if not layer.mid_channels and layer.act != "none":
            raise NasError(f"a head without hidden layer has no activation, but got {layer.act}.")


@lru_cache(maxsize=65536)
def _text_of(layer: Layer) -> str:
    channels = (layer.in_channels, layer.mid_channels, layer.out_channels)
    words = [OP_WORDS[layer.op], f"k{layer.kernel}", ">".join(str(c) for c in channels if c)]
    words += [f"s{layer.stride}"]
    words += [f"se{layer.se}"] if layer.se else []
    words += [SE_WORDS[layer.se_at]] if SE_WORDS[layer.se_at] else []
    words += [] if layer.op == "head" and not layer.mid_channels else [ACT_WORDS[layer.act]]
    words += ["nores"] if layer.is_residual_possible and not layer.residual else []
    words += [] if layer.linear else ["nonlinear"]
    if layer.op == "head":
        words = [word for word in words if word not in ("k1", "s1")]
    return " ".join([*words, f"@{layer.size}"])


_ACTS = {word: act for act, word in ACT_WORDS.items()}
_OPS = {word: op for op, word in OP_WORDS.items()}
_FLAGS = {
    "nores": ("residual", False),
    "nonlinear": ("linear", False),
    **{word: ("se_at", place) for place, word in SE_WORDS.items() if word},
}
_NUMBERS = {"k": "kernel", "s": "stride", "se": "se", "@": "size"}
_FORM = "write it like `mb k5 24>72>40 s2 se24 re @56`"


def _fields_of(text: str) -> dict[str, Any]:
    if not isinstance(text, str) or len(text) > 200:
        raise NasError(f"a layer must be one short line of text, but is {shown(text)}.")
    op, *words = text.split() or [""]
    if op not in _OPS:
        raise unknown(f"op in layer {text!r}: word", op, _OPS)
    fields: dict[str, Any] = {}
    for part in words:
        for name, value in _field_of(part, text).items():
            if name in fields:
                raise NasError(f"layer {text!r} gives {name} twice, at {part!r}. Keep one.")
            fields[name] = value
    needed = {"size", "out_channels"} if op == "head" else {"size", "out_channels", "act"}
    needed |= set() if op == "head" else {"kernel", "stride"}
    missing = sorted(needed - fields.keys())
    if missing:
        raise NasError(f"layer {text!r} does not give {missing[0]}; {_FORM}.")
    return {"op": _OPS[op], **fields}


def _field_of(word: str, text: str) -> dict[str, Any]:
    if word in _ACTS:
        return {"act": _ACTS[word]}
    if word in _FLAGS:
        return dict([_FLAGS[word]])
    parts = word.split(">")
    if len(parts) in (2, 3) and all(_is_number(part) for part in parts):
        channels = [int(part) for part in parts]
        mid = {"mid_channels": channels[1]} if len(parts) == 3 else {}
        return {"in_channels": channels[0], **mid, "out_channels": channels[-1]}
    prefix = word.rstrip("0123456789")
    if prefix in _NUMBERS and _is_number(word[len(prefix) :]):
        return {_NUMBERS[prefix]: int(word[len(prefix) :])}
    raise NasError(f"layer {text!r} has an unknown word {word!r}; {_FORM}.")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """A whole network: layers that fit each other, from the image to the classifier.

    `scaling` names how a width multiplier acts on it (see `nas.scaling`); it does not change the
    network itself and is no part of `key()`.
    """

    name: str
    layers: tuple[Layer, ...]
    scaling: str = "mobilenet_v3"

    def __post_init__(self) -> None:
        if not 2 <= len(self.layers) <= MAX_LAYERS:
            raise NasError(
                f"an arch must have 2 to {MAX_LAYERS} layers, but {self.name} has "
                f"{len(self.layers)}."
            )
        if self.scaling not in SCALINGS:
            raise unknown("scaling", self.scaling, SCALINGS)
        heads = [number for number, layer in enumerate(self.layers, 1) if layer.op == "head"]
        if heads != [len(self.layers)]:
            raise NasError(f"the last layer of {self.name}, and no other, must be a head.")
        for number, (above, below) in enumerate(pairwise(self.layers), start=2):
            if (above.out_channels, above.out_size) != (below.in_channels, below.size):
                raise NasError(
                    f"layer {number} of {self.name} must take {above.out_channels} channels at "
                    f"{above.out_size} px, but is `{below}`."
                )

    @property
    def resolution(self) -> int:
        """Return the height and width of the image in pixels."""
        return self.layers[0].size

    @property
    def num_classes(self) -> int:
        """Return the number of classes that the head tells apart."""
        return self.layers[-1].out_channels

    def key(self) -> str:
        """Return 16 hexadecimal digits, equal for equal networks however they were written."""
        text = "\n".join(map(_text_of, self.layers))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_num_classes(self, num_classes: int) -> Self:
        """Return the same network with another classifier."""
        head = replace(self.layers[-1], out_channels=integer(num_classes, "num_classes"))
        return replace(self, layers=(*self.layers[:-1], head))

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read an arch file: the name of a shipped baseline, or a path.

        Raises:
            NasError: the file is missing, truncated, or not a network.
        """
        path = find("search_spaces/baselines", name_or_path, SUFFIX)
        content = read_yaml(path)
        keys = ("version", "name", "resolution", "num_classes", "layers")
        check_keys(content, str(path), keys, ["scaling"])
        if content["version"] != 1:
            raise NasError(f"{path} must have version 1, but has {shown(content['version'])}.")
        if not isinstance(content["layers"], list):
            raise NasError(f"layers of {path} must be a list with one line a layer.")
        try:
            arch = cls(
                name=short_text(content["name"], "name"),
                layers=tuple(map(Layer.parse, content["layers"])),
                scaling=content.get("scaling", "mobilenet_v3"),
            )
        except NasError as error:
            raise NasError(f"{path}: {error}") from error
        for name in ("resolution", "num_classes"):
            if content[name] != getattr(arch, name):
                raise NasError(
                    f"{path} says {name} {shown(content[name])}, but its layers make it "
                    f"{getattr(arch, name)}. Correct one of them."
                )
        return arch

    def save(self, path: str | Path) -> None:
        """Write the arch file; `load` gives an equal network."""
        content = {
            "version": 1,
            "name": self.name,
            "resolution": self.resolution,
            "num_classes": self.num_classes,
            "scaling": self.scaling,
            "layers": [str(layer) for layer in self.layers],
        }
        write_text(Path(path), yaml.safe_dump(content, sort_keys=False, width=200))

    def scaled(self, width: float = 1.0, resolution: int | None = None) -> Self:
        """Return the network with other widths (see `nas.scaling`) and for another resolution."""
        return scale(self, width, resolution)

    def __str__(self) -> str:
        return "\n".join([f"{self.name} @{self.resolution}", *map(str, self.layers)])
