"""Trained weights in a file: safetensors, with all that is needed to use them beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nas.arch import Arch, Layer
from nas.backbone import Backbone
from nas.errors import NasError
from nas.network.build import Network, build
from nas.network.features import Features
from nas.text import write_bytes

VERSION = "1"


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
            if facts.get("version") != VERSION:
                raise NasError(
                    f"{path} must be a checkpoint of version {VERSION}, but says "
                    f"{facts.get('version')}. Choose a file that nas.train wrote."
                )
            found = cls(
                arch=_arch_of(json.loads(facts["arch"])),
                weights=weights,
                classes=tuple(map(str, json.loads(facts["classes"]))),
                mean=tuple(map(float, json.loads(facts["mean"]))),
                std=tuple(map(float, json.loads(facts["std"]))),
            )
        except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NasError(
                f"{path} must be a checkpoint that nas.train wrote, but cannot be read: {reason}. "
                "Check the path, or train again."
            ) from error
        for name, one in weights.items():
            if one.is_floating_point() and not bool(one.isfinite().all()):
                raise NasError(f"{path} holds no numbers in {name}. Choose an earlier checkpoint.")
        return found


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Write safetensors whole; an interrupted or failed write leaves the old file.

    Raises:
        NasError: the folder is missing or not writable, or the disk is full.
    """
    write_bytes(path, save(tensors, facts), is_synced=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the facts that `write_tensors` wrote.

    Raises:
        OSError, SafetensorError: the file is missing or damaged; what it should be, callers say.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a prefix before their names, as `under` takes it off."""
    return {f"{prefix}{name}": one for name, one in tensors.items()}


def _arch_of(content: Any) -> Arch:
    layers = tuple(Layer.parse(line) for line in content["layers"])
    return Arch(name=content["name"], layers=layers, scaling=content["scaling"])
