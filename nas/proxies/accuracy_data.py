"""Networks with their ImageNet top-1: what the surrogate is fitted on."""

import io
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.errors import NasError, shown
from nas.proxies.features import Array
from nas.space import SearchSpace
from nas.text import is_number, read_columns

SHORT = "16 epochs"
"""The family of the networks of Accel-NASBench, which were trained for 16 epochs only."""

_STAGES = range(7)
_BENCH_COLUMNS = {"e": "expand", "k": "kernel", "l": "depth", "se": "se"}
_SQUEEZE = 0.25
_FULL_RELU = 10**6

# A model of published_models.csv: family, baseline, channels from which on it uses h-swish.
_MODELS: Mapping[str, tuple[str, str, int | None]] = {
    "V1": ("MobileNetV1", "mobilenet_v1", None),
    "V2": ("MobileNetV2", "mobilenet_v2", None),
    "MnasNet-A1": ("MnasNet-A1", "mnasnet_a1", None),
    "Mnas-small": ("MnasNet-small", "mnasnet_small", None),
    "V3-Large": ("MobileNetV3", "mobilenet_v3_large", None),
    "V3-Small": ("MobileNetV3", "mobilenet_v3_small", None),
    "V3-Large all-ReLU": ("MobileNetV3", "mobilenet_v3_large", _FULL_RELU),
    "V3-Large h-swish@16": ("MobileNetV3", "mobilenet_v3_large", 16),
    "V3-Large h-swish@112": ("MobileNetV3", "mobilenet_v3_large", 112),
}
# MobileNetV1's paper, tables 4 to 7: baseline, width, pixels, top-1.
_V1_PAPER = (
    ("conv_mobilenet", 1.0, 224, 71.7),
    ("shallow_mobilenet", 1.0, 224, 65.3),
    ("mobilenet_v1", 1.0, 224, 70.6),
    ("mobilenet_v1", 0.75, 224, 68.4),
    ("mobilenet_v1", 0.5, 224, 63.7),
    ("mobilenet_v1", 0.25, 224, 50.6),
    ("mobilenet_v1", 1.0, 192, 69.1),
    ("mobilenet_v1", 1.0, 160, 67.2),
    ("mobilenet_v1", 1.0, 128, 64.4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A network, the ImageNet top-1 (percent) that it reached, and whose it is."""

    arch: Arch
    top1: float
    family: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples by column; `is_short` marks those trained for 16 epochs only."""

    archs: tuple[Arch, ...]
    top1: Array
    families: NDArray[np.str_]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> "Samples":
        """Gather samples; a network with several figures of one family keeps their mean."""
        grouped: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            grouped.setdefault((sample.family, sample.arch.key()), []).append(sample)
        firsts = [group[0] for group in grouped.values()]
        return cls(
            archs=tuple(first.arch for first in firsts),
            top1=np.array([np.mean([each.top1 for each in group]) for group in grouped.values()]),
            families=np.array([first.family for first in firsts]),
        )

    @property
    def is_short(self) -> NDArray[np.bool_]:
        """Tell for each sample whether it was trained for 16 epochs only."""
        return np.asarray(self.families == SHORT)

    def __len__(self) -> int:
        return len(self.archs)


def read_samples(data: Path, published: Path) -> Samples:
    """Read the short-trained networks and the published ones with the V1 paper's own.

    Raises:
        NasError: a file, column or value that is missing or not what it must be.
    """
    return Samples.of([*read_bench(data), *read_published(published), *_v1_paper()])


def read_bench(path: Path) -> list[Sample]:
    """Read Accel-NASBench's networks: choices of the space `mnasnet`, top-1 after 16 epochs."""
    space = SearchSpace.load("mnasnet")
    columns = [f"b{stage}_{letter}" for stage in _STAGES for letter in _BENCH_COLUMNS]
    samples = []
    for number, row in _rows(path, [*columns, "val_top1"]):
        try:
            arch = space.arch(bench_choices(row))
        except (NasError, OverflowError, TypeError) as error:
            raise NasError(f"{path}, line {number}: {error}") from error
        samples.append(Sample(arch=arch, top1=_top1(row["val_top1"], path, number), family=SHORT))
    return samples


def bench_choices(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return the choices of the space `mnasnet` that a row's b0_e to b6_se mean."""
    chosen: dict[str, Any] = {}
    for stage in _STAGES:
        for letter, name in _BENCH_COLUMNS.items():
            value = row[f"b{stage}_{letter}"]
            chosen[f"stage{stage + 1}.{name}"] = value * _SQUEEZE if letter == "se" else value
    return chosen


def read_published(path: Path) -> list[Sample]:
    """Read the fully trained float networks of the families that are shipped as baselines."""
    samples = []
    for number, row in _rows(path, ["model", "width", "resolution", "precision", "top1"]):
        if row["precision"] != "fp32" or row["model"] not in _MODELS:
            continue
        family, baseline, limit = _MODELS[str(row["model"])]
        try:
            arch = Arch.load(baseline).scaled(float(row["width"]), int(row["resolution"]))
        except (NasError, OverflowError, ValueError) as error:
            raise NasError(f"{path}, line {number}: {error}") from error
        arch = arch if limit is None else with_hswish_from(arch, limit)
        samples.append(Sample(arch=arch, top1=_top1(row["top1"], path, number), family=family))
    if not samples:
        raise NasError(f"{path} must hold one of the models {', '.join(_MODELS)}, but has none.")
    return samples


def with_hswish_from(arch: Arch, channels: int) -> Arch:
    """Return the network with h-swish in blocks of at least `channels`, ReLU in the others."""

    def activated(layer: Layer) -> Layer:
        act = "hswish" if layer.out_channels >= channels else "relu"
        return replace(layer, act=act) if layer.op == "mbconv" else layer

    return replace(arch, layers=tuple(map(activated, arch.layers)))


def _v1_paper() -> list[Sample]:
    return [
        Sample(arch=Arch.load(name).scaled(width, pixels), top1=top1, family="MobileNetV1")
        for name, width, pixels, top1 in _V1_PAPER
    ]


def _rows(path: Path, columns: list[str]) -> list[tuple[int, dict[Hashable, Any]]]:
    text = read_columns(path)
    try:
        table = pd.read_csv(io.StringIO(text), low_memory=False)
    except (OverflowError, ValueError) as error:
        raise NasError(f"{path} must be a CSV table: {error}. Check the file.") from error
    missing = [name for name in columns if name not in table]
    if missing or table.empty:
        lacks = f"column {missing[0]}" if missing else "row"
        raise NasError(f"{path} has no {lacks}; it needs the columns {', '.join(columns)}.")
    return list(enumerate(table[columns].to_dict("records"), start=2))


def _top1(value: object, path: Path, number: int) -> float:
    if not (is_number(value) and 0 < value < 100):  # type: ignore[operator]
        raise NasError(
            f"{path}, line {number}: top-1 must be a percentage between 0 and 100, "
            f"but is {shown(value)}. Correct or delete the line."
        )
    return float(value)  # type: ignore[arg-type]
