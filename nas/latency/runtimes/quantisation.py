"""Eight-bit numbers for ranges and weights: real = scale * (integer - zero point)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.latency.runtimes.graph import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The affine map of a tensor of the integer type `dtype`."""

    scale: float
    zero_point: int
    dtype: str


def activation_scale(step: Step, dtype: str) -> Scale:
    """Return the map that covers a step's range and zero, which padding needs exactly."""
    bounds = np.iinfo(dtype)
    low, high = min(step.low, 0.0), max(step.high, 0.0)
    scale = float(np.float32((high - low) / 255 or 1.0))
    zero_point = round(bounds.min - low / scale)
    return Scale(scale=scale, zero_point=min(max(zero_point, bounds.min), bounds.max), dtype=dtype)


def int8_weight(
    weight: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a weight in symmetric integers of `bits`, and the scale of each output channel."""
    most = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)))
    scales = np.where(largest > 0, largest / most, 1.0).astype(np.float32)
    columns = scales.reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight / columns).astype(np.int8), scales


def int32_bias(bias: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return a bias in steps of `scales`, those of the input times those of the weight."""
    bounds = np.iinfo(np.int32)
    steps: NDArray[np.float64] = np.rint(bias.astype(np.float64) / scales)
    return np.clip(steps, bounds.min, bounds.max).astype(np.int32)
