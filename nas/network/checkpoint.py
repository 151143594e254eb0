"""Trained weights in a file: safetensors, with all that is needed to use them beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from safetensors.torch import save
from torch import Tensor

from nas.arch import Arch, Layer
from nas.backbone import Backbone
from nas.cost import count_params
from nas.errors import NasError, shown
from nas.network.build import Network, build
from nas.network.features import Features
from nas.network.tensor_file import UnreadableError, is_finite, read_tensors
from nas.text import check_keys, is_number, parse_json, printable, short_text, write_bytes

VERSION = "1"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network's weights, and what its user must know.

    `weights` are the `state_dict` of `build(arch)`. `classes` are the names of the logits, in
    their order. Images are divided by 255; `mean` and `std`, a number a channel of the first
    layer, are taken off and divided by after that.
    """

    arch: Arch
    weights: Mapping[str, Tensor]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def network(self) -> Network:
        """Return the network with these weights, ready to be used (`eval`).

        Raises:
            NasError: the weights are not those of the arch.
        """
        n_weights, n_there = count_params(self.arch), sum(map(Tensor.numel, self.weights.values()))
        if n_weights > n_there:  # a few bytes may name a network that no memory holds
            raise NasError(
                f"these weights do not fit {self.arch.name}: it has {n_weights:,}, but there are "
                f"{n_there:,}. Choose the checkpoint of this network."
            )
        network = build(self.arch)
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise NasError(
                f"these weights do not fit {self.arch.name}: {reason}. Choose the checkpoint of "
                "this network."
            ) from error
        network.eval()
        return network

    def features(
        self,
        strides: Sequence[int] | None = None,
        output_stride: int | None = None,
        at_expansion: bool = False,
    ) -> Features:
        """Return the network as a backbone with these weights, in `eval`; see `Backbone.of`.

        Raises:
            NasError: the weights are not those of the arch, or it lacks a wanted stride.
        """
        chosen = Backbone.of(self.arch, strides, output_stride, at_expansion)
        found = Features(self.network().layers, chosen)
        found.eval()
        return found

    def save(self, path: str | Path) -> None:
        """Write the file whole; an interrupted or failed write leaves the old one.

        Raises:
            NasError: the folder is missing or not writable, or the disk is full.
        """
        arch = {
            "name": self.arch.name,
            "scaling": self.arch.scaling,
            "layers": [str(layer) for layer in self.arch.layers],
        }
        facts = {
            "version": VERSION,
            "arch": json.dumps(arch),
            "classes": json.dumps(self.classes),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
        }
        tensors = {name: one.detach().cpu().contiguous() for name, one in self.weights.items()}
        write_tensors(Path(path), tensors, facts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote.

        Raises:
            NasError: the file is missing, damaged or none of these, or a weight is no number.
        """
        path = Path(path)
        try:
            weights, facts = read_tensors(path)
        except UnreadableError as error:
            raise _none(path, error) from error
        if facts.get("version") != VERSION:
            raise NasError(
                f"{path} must be a checkpoint of version {VERSION}, but says "
                f"{shown(facts.get('version'))}. Choose a file that nas.train wrote."
            )
        try:
            found = cls(
                arch=_arch_of(_fact(facts, "arch", dict)),
                weights=weights,
                classes=tuple(map(str, _fact(facts, "classes", list))),
                mean=_numbers(facts, "mean"),
                std=_numbers(facts, "std"),
            )
        except (NasError, UnreadableError) as error:
            raise _none(path, error) from error
        for name, one in weights.items():
            if not is_finite(one):
                raise NasError(
                    f"{path} holds no numbers in {printable(name)}. Choose an earlier checkpoint."
                )
        return found


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Write safetensors whole; an interrupted or failed write leaves the old file.

    Raises:
        NasError: the folder is missing or not writable, or the disk is full.
    """
    write_bytes(path, save(tensors, facts), is_synced=True)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a prefix before their names, as `under` takes it off."""
    return {f"{prefix}{name}": one for name, one in tensors.items()}


def _none(path: Path, error: ValueError) -> NasError:
    reason = str(error).rstrip(".")
    return NasError(
        f"{path} must be a checkpoint that nas.train wrote, but cannot be read: {reason}. Check "
        "the path, or train again."
    )


def _fact(facts: Mapping[str, str], name: str, kind: type[T]) -> T:
    """Return what the text of a fact holds."""
    content = parse_json(facts.get(name, "null"), name)
    if not isinstance(content, kind):
        raise UnreadableError(f"its {name} is {shown(content)}")
    return content


def _numbers(facts: Mapping[str, str], name: str) -> tuple[float, ...]:
    content: list[Any] = _fact(facts, name, list)
    if not all(map(is_number, content)):
        raise UnreadableError(f"its {name} is {shown(content)}")
    return tuple(map(float, content))


def _arch_of(content: dict[str, Any]) -> Arch:
    check_keys(content, "arch", ("name", "scaling", "layers"))
    if not isinstance(content["layers"], list):
        raise UnreadableError(f"its layers are {shown(content['layers'])}")
    layers = tuple(map(Layer.parse, content["layers"]))
    return Arch(name=short_text(content["name"], "name"), layers=layers, scaling=content["scaling"])
