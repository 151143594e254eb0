"""A network as its stages: what the blocks of each output size and width have in common."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from math import log2
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params
from nas.proxies.features import Array

Stage = tuple[int, int]
"""Output size in pixels and output channels."""

STAGE_PROPERTIES = ("expansion", "depth", "kernel", "se", "hswish", "trunk", "lead")
"""What is known of each stage.

expansion: mean over its blocks of log2 of the expansion ratio. depth: number of blocks.
kernel: mean of (kernel - 3) / 2. se, hswish: share of the blocks with it.
trunk: log2 of the parameters from the image to the stage's end, its own included: all that the
    network can have learned by then. A stage that is not there has its predecessor's.
lead: log2 of the expansion of the blocks that change size or width, above the mean.
"""
WHOLE_PROPERTIES = ("params", "macs", "end_hswish")
"""What is known of the whole: log2 of parameters and MAdds; h-swish in the layers after the blocks,
as a share of them."""

_SUMS = ("blocks", "expansion", "kernel", "se", "hswish", "params", "entries", "entry_expansion")
_WHOLE_SUMS = ("params", "macs", "ends", "end_hswish")


def stages_of(archs: Iterable[Arch]) -> tuple[Stage, ...]:
    """Return every stage of the networks, from the image on."""
    depths: dict[Stage, list[int]] = {}
    for arch in archs:
        for depth, layer in enumerate(arch.layers):
            if _is_block(layer):
                depths.setdefault(_stage(layer), []).append(depth)
    return tuple(sorted(depths, key=lambda stage: (-stage[0], fmean(depths[stage]), stage)))


def distance(one: Stage, other: Stage) -> float:
    """Return how far apart two stages are, in octaves of size and of width."""
    return sum(abs(log2(ours / theirs)) for ours, theirs in zip(one, other, strict=True))


def describe(archs: Sequence[Arch], stages: tuple[Stage, ...]) -> tuple[Array, Array]:
    """Return what is known of the networks, in natural units.

    A block of a stage that is none of `stages` counts for the nearest.

    Returns:
        STAGE_PROPERTIES of each stage (networks, properties, stages) and WHOLE_PROPERTIES
        (networks, properties).
    """
    sums, whole = _sums(archs, stages)
    blocks, expansion, kernel, se, hswish, params, entries, entry_expansion = sums
    present = np.maximum(blocks, 1)
    stem = np.array([count_params(arch.layers[0]) for arch in archs], dtype=np.float64)
    trunk = np.log2(np.maximum(np.cumsum(params, axis=1), stem[:, None]))
    lead = np.where(entries > 0, entry_expansion / np.maximum(entries, 1) - expansion / present, 0)
    shares = [total / present for total in (expansion, kernel, se, hswish)]
    of_stages = np.stack([shares[0], blocks, *shares[1:], trunk, lead], axis=1)
    of_whole = np.stack([*np.log2(whole[:2]), whole[3] / np.maximum(whole[2], 1)], axis=1)
    return of_stages, of_whole


def _sums(archs: Sequence[Arch], stages: tuple[Stage, ...]) -> tuple[Array, Array]:
    """Return _SUMS (sums, networks, stages) and _WHOLE_SUMS (sums, networks)."""
    layers = list(chain.from_iterable(arch.layers for arch in archs))
    # Networks of a space share their layers: each is looked at once, and known by identity then.
    distinct = {id(layer): layer for layer in layers}
    number = {key: index for index, key in enumerate(distinct)}
    kinds = np.fromiter(map(number.__getitem__, map(id, layers)), np.intp, len(layers))
    owners = np.repeat(np.arange(len(archs)), [len(arch.layers) for arch in archs])
    rows = np.array([_row(layer) for layer in distinct.values()]).T
    places = np.array([_place(layer, stages) for layer in distinct.values()])[kinds]
    n_places = len(stages) + 1
    cells = owners * n_places + places
    shape = (-1, len(archs), n_places)
    of_stages = _added(rows[: len(_SUMS), kinds], cells, len(archs) * n_places).reshape(shape)
    of_whole = _added(rows[len(_SUMS) :, kinds], owners, len(archs))
    return of_stages[:, :, :-1], of_whole


def _added(rows: Array, cells: NDArray[np.intp], n_cells: int) -> Array:
    return np.stack([np.bincount(cells, row, n_cells) for row in rows])


@lru_cache(maxsize=65536)
def _row(layer: Layer) -> tuple[float, ...]:
    is_block = _is_block(layer)
    expansion = log2((layer.mid_channels or layer.in_channels) / layer.in_channels)
    is_entry = layer.stride > 1 or layer.in_channels != layer.out_channels
    is_hswish = layer.act == "hswish"
    of_stage = (
        1.0,
        expansion,
        (layer.kernel - 3) / 2,
        layer.se > 0,
        is_hswish,
        count_params(layer),
        is_entry,
        is_entry * expansion,
    )
    ends = (not is_block, is_hswish and not is_block)
    return (*map(float, of_stage), count_params(layer), count_macs(layer), *map(float, ends))


@lru_cache(maxsize=65536)
def _place(layer: Layer, stages: tuple[Stage, ...]) -> int:
    """Return the number of the layer's stage; what is no block comes after all of them."""
    if not _is_block(layer):
        return len(stages)
    stage = _stage(layer)
    return min(range(len(stages)), key=lambda number: distance(stage, stages[number]))


def _stage(layer: Layer) -> Stage:
    return layer.out_size, layer.out_channels


def _is_block(layer: Layer) -> bool:
    return layer.op in ("mbconv", "separable") or (layer.op == "conv" and layer.kernel > 1)
