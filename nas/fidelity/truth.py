"""Networks with the accuracy that they reached: what a proxy is judged by."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Self

import numpy as np

from nas.arch import SUFFIX, Arch
from nas.errors import NasError, shown
from nas.fidelity.settings import MIN_NETWORKS
from nas.paths import inside
from nas.proxies.accuracy_data import Sample, Samples, read_bench
from nas.proxies.features import Array
from nas.space import SearchSpace
from nas.text import mapping, parse_json, read_text

BENCH = "Accel-NASBench"
BENCH_SPACE = "mnasnet"

_FORMATS = (
    "val_top1 and b0_e to b6_se (Accel-NASBench), or top1 and choices (with space=), or top1 and "
    "arch (a baseline's name or an arch file)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Different networks and their top-1 in percent.

    `top1` has a row for each training, with a seed of its own, and a column a network. `space` is
    the space that all networks are from, where one is known; `origin` says where they are from.
    """

    origin: str
    archs: tuple[Arch, ...]
    top1: Array
    space: SearchSpace | None = None

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def mean_top1(self) -> Array:
        """Return the mean over the trainings of each network, in percent."""
        return np.asarray(self.top1.mean(axis=0))

    @classmethod
    def of(cls, samples: Sequence[Sample], origin: str, space: SearchSpace | None) -> Self:
        """Gather samples; a network with several figures keeps their mean."""
        gathered = Samples.of(samples)
        return cls(origin=origin, archs=gathered.archs, top1=gathered.top1[None, :], space=space)


def read_truth(path: Path, space: str | None = None) -> Truth:
    """Read a table of networks and accuracies in one of the formats of docs/fidelity.md.

    Raises:
        NasError: a file, column or value that is missing or wrong; the line is named.
    """
    columns, rows = _read(path)
    if "val_top1" in columns:
        if space not in (None, BENCH_SPACE):
            raise NasError(
                f"{path} holds networks of the space {BENCH_SPACE}, not of {space}. Leave space= "
                "out."
            )
        samples, origin = read_bench(path), f"{path.name} ({BENCH})"
        found = Truth.of(samples, origin, SearchSpace.load(BENCH_SPACE))
    elif "top1" in columns and {"choices", "arch"} & set(columns):
        known = None if space is None else SearchSpace.load(space)
        read = _reader(columns, known, path)
        found = Truth.of(_samples(rows, read, path), path.name, known)
    else:
        has = ", ".join(columns)[:200] or "none"
        raise NasError(f"{path} must have the columns {_FORMATS}, but has {has}.")
    _check_number(len(found), path)
    return found


def _check_number(n: int, path: Path) -> None:
    if n < MIN_NETWORKS:
        raise NasError(
            f"{path} must hold at least {MIN_NETWORKS} different networks, but holds {n}. Add some."
        )


def _read(path: Path) -> tuple[Sequence[str], list[Mapping[str, str]]]:
    # Opened once more by whoever knows the format: only then is a column's absence an error.
    try:
        reader = csv.DictReader(read_text(path).splitlines(), restval="", restkey="")
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        return columns, list(reader)
    except csv.Error as error:
        raise NasError(f"{path} is not readable CSV: {error}. Correct the file.") from error


def _reader(
    columns: Sequence[str], space: SearchSpace | None, path: Path
) -> Callable[[Mapping[str, str]], Arch]:
    if "choices" not in columns:
        return partial(_loaded, folder=path.parent)
    if space is None:
        raise NasError(
            f"{path} holds choices, so their space must be named. Add space=<name or file>."
        )
    return partial(_chosen, space=space)


def _samples(
    rows: Sequence[Mapping[str, str]], read: Callable[[Mapping[str, str]], Arch], path: Path
) -> list[Sample]:
    samples = []
    for number, row in enumerate(rows, start=2):
        try:
            samples.append(Sample(arch=read(row), top1=_top1(row["top1"]), family=""))
        except NasError as error:
            raise NasError(f"{path}, line {number}: {error}") from error
    return samples


def _chosen(row: Mapping[str, str], *, space: SearchSpace) -> Arch:
    try:
        chosen = parse_json(row["choices"], "choices")
    except NasError as error:
        raise NasError(f"choices must be JSON, but are {shown(row['choices'])}.") from error
    return space.arch(mapping(chosen, "choices"))


def _loaded(row: Mapping[str, str], *, folder: Path) -> Arch:
    name = row["arch"].strip()
    if name.endswith(SUFFIX) or len(Path(name).parts) != 1:
        return Arch.load(inside(folder, name))
    return Arch.load(name)


def _top1(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not 0 <= value <= 100:
        raise NasError(
            f"top-1 must be a percentage from 0 to 100, but is {shown(text)}. Correct or delete "
            "the line."
        )
    return value
