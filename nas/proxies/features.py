"""Named features of a network that mean the same on every skeleton.

Blocks are grouped by level: how many times smaller than the image their output is (2 to 32). A
dense k x k convolution counts as its separable twin, and `dense_share` says how much was dense.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import log2

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
_PER_LEVEL = ("depth", "expansion", "kernel", "se", "log2_width")
_LEANS = ("expansion_lean", "kernel_lean", "se_lean")
FEATURE_NAMES = (
    *_COSTS,
    *_SHARES,
    *(f"{name}_at_{level}" for level in LEVELS for name in _PER_LEVEL),
    *(f"{name}_at_{level}" for level in LEAN_LEVELS for name in _LEANS),
)
"""What the columns of `features_of` hold.

log2_madds, log2_params: of the network with 1000 classes.
log2_classifier_inputs: channels that reach the classifier. log2_resolution: pixels.
hswish_share: share of the blocks' output channels that lie in blocks with h-swish.
separable_share, dense_share: share of the blocks that are MobileNetV1's, dense convolutions.
depth: blocks. expansion, kernel, se, log2_width: means over the blocks of the level (a level
    without blocks counts as an identity: expansion 1, kernel 3, no se, the width before it).
*_lean: covariance, over the blocks of the level, of the property and log2 of the width; positive
    where the wide end has more of it.
"""

_EMPTY_LEVEL = (1.0, 3.0, 0.0)
_N_TOTALS = 8
_N_LEVEL_SUMS = 8


def features_of(archs: Sequence[Arch]) -> Array:
    """Return one row of `FEATURE_NAMES` for each arch."""
    sums = np.array([_sums(arch) for arch in archs]).reshape(len(archs), -1)
    totals = sums[:, :_N_TOTALS]
    levels = sums[:, _N_TOTALS:].reshape(len(archs), len(LEVELS), _N_LEVEL_SUMS)
    resolutions = np.array([arch.resolution for arch in archs])
    costs = np.log2(np.column_stack([totals[:, :3], resolutions]))
    hswish = totals[:, 3] / np.maximum(totals[:, 4], 1)
    shares = totals[:, 5:7] / np.maximum(levels[:, :, 0].sum(axis=1, keepdims=True), 1)
    return np.column_stack([costs, hswish, shares, *_level_features(levels, totals[:, 7])])


def _level_features(sums: Array, stem_width: Array) -> tuple[Array, Array]:
    depth = sums[:, :, :1]
    means = sums[:, :, 1:] / np.maximum(depth, 1)
    width, properties = means[:, :, :1], means[:, :, 1:4]
    leans = means[:, :, 4:] - width * properties
    empty = depth[:, :, 0] == 0
    properties[empty] = _EMPTY_LEVEL
    before = stem_width
    for level in range(len(LEVELS)):
        width[:, level, 0] = np.where(empty[:, level], before, width[:, level, 0])
        before = width[:, level, 0]
    per_level = np.concatenate([depth, properties, width], axis=2)
    lean_at = [LEVELS.index(level) for level in LEAN_LEVELS]
    n_archs = len(sums)
    return per_level.reshape(n_archs, -1), leans[:, lean_at].reshape(n_archs, -1)


def _sums(arch: Arch) -> Array:
    stem, *others = arch.layers
    rows = [_row(layer, arch.resolution, is_stem=False) for layer in others]
    return np.sum([_row(stem, arch.resolution, is_stem=True), *rows], axis=0)


@lru_cache(maxsize=65536)
def _row(layer: Layer, resolution: int, *, is_stem: bool) -> Array:
    """Return what a layer adds to the sums over the network and over each level's blocks."""
    row = np.zeros(_N_TOTALS + len(LEVELS) * _N_LEVEL_SUMS)
    counted = _imagenet_twin(layer, is_stem)
    row[:2] = count_macs(counted), count_params(counted)
    row[2] = (layer.mid_channels or layer.in_channels) if layer.op == "head" else 0
    row[7] = log2(layer.out_channels) if is_stem else 0
    if not is_stem and _is_block(layer):
        channels = layer.out_channels
        row[3:5] = channels * (layer.act == "hswish"), channels
        row[5:7] = layer.op == "separable", layer.op == "conv"
        start = _N_TOTALS + _level_index(layer, resolution) * _N_LEVEL_SUMS
        expansion = layer.mid_channels / layer.in_channels if layer.op == "mbconv" else 1
        properties = np.array([expansion, layer.kernel, layer.se > 0])
        width = log2(channels)
        row[start : start + _N_LEVEL_SUMS] = 1, width, *properties, *(width * properties)
    row.flags.writeable = False
    return row


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
