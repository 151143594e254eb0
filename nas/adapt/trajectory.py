"""The way of a network from its first latency to the target: a line a step, kept as it goes."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

from nas.arch import Arch, Layer
from nas.errors import NasError, shown
from nas.text import (
    check_keys,
    is_number,
    mapping,
    parse_json,
    printable,
    read_text,
    short_text,
    write_text,
)

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
        self.steps: list[Step] = self._read() if path.exists() else []

    def add(self, step: Step) -> None:
        """Append a step and write the file.

        Raises:
            NasError: the folder is not writable, or the disk is full.
        """
        self.steps.append(step)
        head = {"version": VERSION, "identity": self._identity}
        lines = [json.dumps(one) for one in (head, *map(_fields, self.steps))]
        write_text(self._path, "\n".join(lines) + "\n")

    def _read(self) -> list[Step]:
        lines = read_text(self._path).splitlines() or [""]
        try:
            head, *steps = (
                mapping(parse_json(line, f"line {number}"), f"line {number}")
                for number, line in enumerate(lines, start=1)
            )
            known = mapping(head.get("identity"), "identity")
            found = [_step(fields) for fields in steps]
        except NasError as error:
            raise NasError(
                f"{self._path} must be the steps of an adaptation, but cannot be read: {error} "
                "Choose another hydra.run.dir=, or delete it to begin anew."
            ) from error
        self._check(known)
        return found

    def _check(self, known: Mapping[str, Any]) -> None:
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
        "top1": step.top1 if isfinite(step.top1) else None,
        "name": step.arch.name,
        "scaling": step.arch.scaling,
        "layers": [str(layer) for layer in step.arch.layers],
        "tried": [[one.what, one.ms, one.top1] for one in step.tried],
    }


def _step(fields: dict[str, Any]) -> Step:
    check_keys(fields, "a step", ("what", "ms", "top1", "name", "scaling", "layers", "tried"))
    for name in ("layers", "tried"):
        if not isinstance(fields[name], list):
            raise NasError(f"{name} of a step must be a list, but is {shown(fields[name])}.")
    arch = Arch(
        name=short_text(fields["name"], "name of a step"),
        layers=tuple(map(Layer.parse, fields["layers"])),
        scaling=fields["scaling"],
    )
    what, ms, top1 = _tried([fields[name] for name in ("what", "ms", "top1")])
    tried = tuple(
        Tried(what=what, ms=ms, top1=top1) for what, ms, top1 in map(_tried, fields["tried"])
    )
    return Step(arch=arch, what=what, ms=ms, top1=top1, tried=tried)


def _tried(one: Any) -> tuple[str, float, float]:
    """Return what was cut and the figures after it; a network that cannot be judged has NaN."""
    if not (isinstance(one, list) and len(one) == 3 and isinstance(one[0], str)):
        raise NasError(f"a proposal must be a text, ms and top-1, but is {shown(one)}.")
    what, ms, top1 = one
    if not (is_number(ms) and (top1 is None or is_number(top1))):
        raise NasError(f"ms and top-1 of a proposal must be numbers, but are {shown(one[1:])}.")
    return printable(what), float(ms), nan if top1 is None else float(top1)


def csv_of(steps: Sequence[Step]) -> str:
    """Return trajectory.csv: a line a step, the first of them the network as it was given."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "what", "ms", "top1", "proposals", "key"))
    for number, one in enumerate(steps):
        figures = (f"{one.ms:.6f}", f"{one.top1:.4f}", len(one.tried))
        writer.writerow((number, one.what, *figures, one.arch.key()))
    return text.getvalue()
