"""The way of a network from its first latency to the target: a line a step, kept as it goes."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.text import read_text, write_text

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A proposal of a step: what is cut, and the latency and accuracy after it."""

    what: str
    ms: float
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A network on the way; `what` was cut to get there, `tried` are all proposals of that step."""

    arch: Arch
    what: str
    ms: float
    top1: float
    tried: tuple[Tried, ...] = ()


class Trajectory:
    """The steps of an adaptation, the first of them the network as it was given.

    The file is written whole after each step. `identity` is what the steps follow from: a file of
    another adaptation is refused.

    Raises:
        NasError: the file is damaged, or of another adaptation.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = path, dict(identity)
        self.steps: list[Step] = list(self._read()) if path.exists() else []

    def add(self, step: Step) -> None:
        """Append a step and write the file.

        Raises:
            NasError: the folder is not writable, or the disk is full.
        """
        self.steps.append(step)
        head = {"version": VERSION, "identity": self._identity}
        lines = [json.dumps(one) for one in (head, *map(_fields, self.steps))]
        write_text(self._path, "\n".join(lines) + "\n")

    def _read(self) -> Iterator[Step]:
        try:
            head, *lines = map(json.loads, read_text(self._path).splitlines())
            self._check(head)
            yield from map(_step, lines)
        except NasError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NasError(
                f"{self._path} must be the steps of an adaptation, but cannot be read: {reason}. "
                "Choose another hydra.run.dir=, or delete it to begin anew."
            ) from error

    def _check(self, head: Mapping[str, Any]) -> None:
        known = head["identity"]
        for name, value in self._identity.items():
            if known.get(name) != value:
                raise NasError(
                    f"{self._path.parent} holds an adaptation with {name} {known.get(name)}, but "
                    f"this one has {value}. Choose another hydra.run.dir=."
                )


def _fields(step: Step) -> dict[str, Any]:
    return {
        "what": step.what,
        "ms": step.ms,
        "top1": step.top1,
        "name": step.arch.name,
        "scaling": step.arch.scaling,
        "layers": [str(layer) for layer in step.arch.layers],
        "tried": [[one.what, one.ms, one.top1] for one in step.tried],
    }


def _step(fields: Mapping[str, Any]) -> Step:
    arch = Arch(
        name=fields["name"],
        layers=tuple(map(Layer.parse, fields["layers"])),
        scaling=fields["scaling"],
    )
    tried = tuple(Tried(what=what, ms=ms, top1=top1) for what, ms, top1 in fields["tried"])
    return Step(arch=arch, what=fields["what"], ms=fields["ms"], top1=fields["top1"], tried=tried)


def csv_of(steps: Sequence[Step]) -> str:
    """Return trajectory.csv: a line a step, the first of them the network as it was given."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "what", "ms", "top1", "proposals", "key"))
    for number, one in enumerate(steps):
        figures = (f"{one.ms:.6f}", f"{one.top1:.4f}", len(one.tried))
        writer.writerow((number, one.what, *figures, one.arch.key()))
    return text.getvalue()
