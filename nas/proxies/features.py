"""Named features of a network that mean the same on every skeleton.

Blocks are grouped by level: how many times smaller than the image their output is (2 to 32). A
dense k x k convolution counts as its separable twin, and `dense_share` says how much was dense.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import inf, log2

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params

Array = NDArray[np.float64]

LEVELS = (2, 4, 8, 16, 32)
LEAN_LEVELS = (16, 32)
"""The levels at which the mobile skeletons change their width."""
IMAGENET_CLASSES = 1000

_COSTS = ("log2_madds", "log2_params", "log2_classifier_inputs", "log2_resolution")
_SHARES = ("hswish_share", "separable_share", "dense_share")
_EXTREMES = ("narrowing", "largest_kernel", "log2_largest_expansion")
_PER_LEVEL = ("depth", "log2_inner_width", "kernel", "se")
_LEANS = ("expansion_lean", "kernel_lean", "se_lean", "widening")
FEATURE_NAMES = (
    *_COSTS,
    *_SHARES,
    *_EXTREMES,
    *(f"{name}_at_{level}" for level in LEVELS for name in _PER_LEVEL),
    *(f"{name}_at_{level}" for level in LEAN_LEVELS for name in _LEANS),
)
"""What the columns of `features_of` hold.

log2_madds, log2_params: of the network with 1000 classes.
log2_classifier_inputs: channels that reach the classifier. log2_resolution: pixels.
hswish_share: share of the blocks' output channels that lie in blocks with h-swish.
separable_share, dense_share: share of the blocks that are MobileNetV1's, dense convolutions.
narrowing: octaves of width lost from block to block, past the first block.
largest_kernel, log2_largest_expansion: of any block, where a mean would hide it.
depth: blocks. log2_inner_width, kernel, se: means over the blocks of the level, the inner width
    being the depthwise convolution's channels (a level without blocks counts as an identity:
    the width before it, kernel 3, no se).
*_lean: covariance, over the blocks of the level, of log2 of the expansion, the kernel or the se
    and log2 of the width: positive where the wide end has more of it.
widening: mean over the blocks of the level of log2 of the width, above the narrowest block's.
"""

_N_TOTALS = 9
_N_LEVEL_SUMS = 9
_N_SUMS = _N_TOTALS + len(LEVELS) * _N_LEVEL_SUMS
_N_LEAST = len(LEVELS) + 2


def features_of(archs: Sequence[Arch]) -> Array:
    """Return one row of `FEATURE_NAMES` for each arch."""
    if not archs:
        return np.zeros((0, len(FEATURE_NAMES)))
    pairs = [_reduced(arch) for arch in archs]
    sums = np.array([pair[0] for pair in pairs]).reshape(len(archs), _N_SUMS)
    least = np.array([pair[1] for pair in pairs]).reshape(len(archs), _N_LEAST)
    totals = sums[:, :_N_TOTALS]
    levels = sums[:, _N_TOTALS:].reshape(len(archs), len(LEVELS), _N_LEVEL_SUMS)
    resolutions = np.array([arch.resolution for arch in archs])
    costs = np.log2(np.column_stack([totals[:, :3], resolutions]))
    hswish = totals[:, 3] / np.maximum(totals[:, 4], 1)
    shares = totals[:, 5:7] / np.maximum(levels[:, :, 0].sum(axis=1, keepdims=True), 1)
    extremes = np.column_stack([totals[:, 8], -least[:, :2]])
    of_levels = _level_features(levels, least[:, 2:], totals[:, 7])
    return np.column_stack([costs, hswish, shares, extremes, *of_levels])


def _level_features(sums: Array, narrowest: Array, stem_width: Array) -> tuple[Array, Array]:
    depth = sums[:, :, :1]
    means = sums[:, :, 1:] / np.maximum(depth, 1)
    width, properties = means[:, :, :1], means[:, :, 2:5]
    leans = means[:, :, 5:] - width * properties
    is_empty = depth[:, :, 0] == 0
    widening = np.where(is_empty, 0, width[:, :, 0] - np.where(is_empty, 0, narrowest))
    before = stem_width
    for level, empty in enumerate(is_empty.T):
        means[empty, level, :5] = np.column_stack(_identity(before[empty]))
        before = means[:, level, 0]
    per_level = np.concatenate([depth, means[:, :, 1:2], properties[:, :, 1:]], axis=2)
    at = [LEVELS.index(level) for level in LEAN_LEVELS]
    ends = np.concatenate([leans, widening[:, :, None]], axis=2)[:, at]
    return per_level.reshape(len(sums), -1), ends.reshape(len(sums), -1)


def _identity(width: Array) -> tuple[Array, ...]:
    zeros = np.zeros_like(width)
    return width, width, zeros, zeros + 3, zeros


def _reduced(arch: Arch) -> tuple[Array, Array]:
    rows = np.array(
        [_row(layer, arch.resolution, min(n, 2)) for n, layer in enumerate(arch.layers)]
    )
    return rows[:, :_N_SUMS].sum(axis=0), rows[:, _N_SUMS:].min(axis=0)


@lru_cache(maxsize=65536)
def _row(layer: Layer, resolution: int, place: int) -> Array:
    """Return what a layer adds to all sums, then what it enters for the minima.

    `place` is 0 for the stem, 1 for the first block, which may narrow the stem, 2 for the others.
    """
    is_stem = place == 0
    row = np.zeros(_N_SUMS + _N_LEAST)
    row[_N_SUMS:] = inf
    counted = _imagenet_twin(layer, is_stem)
    row[:2] = count_macs(counted), count_params(counted)
    row[2] = (layer.mid_channels or layer.in_channels) if layer.op == "head" else 0
    row[7] = log2(layer.out_channels) if is_stem else 0
    if not is_stem and _is_block(layer):
        level = _level_index(layer, resolution)
        start = _N_TOTALS + level * _N_LEVEL_SUMS
        row[3:5] = layer.out_channels * (layer.act == "hswish"), layer.out_channels
        row[5:7] = layer.op == "separable", layer.op == "conv"
        row[8] = max(0, log2(layer.in_channels / layer.out_channels)) if place > 1 else 0
        sums = _block_sums(layer)
        row[start : start + _N_LEVEL_SUMS] = 1, *sums
        row[_N_SUMS : _N_SUMS + 2] = -layer.kernel, -sums[2]
        row[_N_SUMS + 2 + level] = sums[0]
    row.flags.writeable = False
    return row


def _block_sums(layer: Layer) -> tuple[float, ...]:
    width = log2(layer.out_channels)
    inner = log2(layer.mid_channels or layer.in_channels)
    properties = (inner - log2(layer.in_channels), layer.kernel, layer.se > 0)
    return width, inner, *properties, *(width * value for value in properties)


def _is_block(layer: Layer) -> bool:
    return layer.op in ("mbconv", "separable") or (layer.op == "conv" and layer.kernel > 1)


def _imagenet_twin(layer: Layer, is_stem: bool) -> Layer:
    if layer.op == "head":
        return replace(layer, out_channels=IMAGENET_CLASSES)
    if layer.op == "conv" and layer.kernel > 1 and not is_stem:
        return replace(layer, op="separable")
    return layer


def _level_index(layer: Layer, resolution: int) -> int:
    halvings = round(log2(resolution / layer.out_size))
    return min(max(halvings, 1), len(LEVELS)) - 1
