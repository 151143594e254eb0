"""How images and results lie in the memory of a model's input and output."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output: shape and numpy dtype as stored, and how NCHW floats are stored there.

    Integers q stand for scale * (q - zero_point). `is_nhwc` counts for four dimensions only.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    is_nhwc: bool = False
    scale: float = 1.0
    zero_point: int = 0

    def noise(self) -> NDArray[np.float32]:
        """Return normal noise, NCHW: what a session runs on before it is fed."""
        noise = np.random.default_rng(0).standard_normal(self.shape, dtype=np.float32)
        return _moved(noise, 3, 1) if self.is_nhwc and noise.ndim == 4 else noise

    def stored(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return NCHW images as the input holds them, in memory of their own.

        Raises:
            ValueError: they are not of the input's shape.
        """
        laid = _moved(images, 1, 3) if self.is_nhwc and images.ndim == 4 else images
        if laid.shape != self.shape:
            raise ValueError(f"images must have shape {self.shape}, but have {laid.shape}")
        if self.dtype == "float32":
            return np.array(laid, dtype=np.float32, order="C")
        bounds = np.iinfo(self.dtype)
        steps = np.rint(laid / np.float32(self.scale)) + self.zero_point
        return np.ascontiguousarray(np.clip(steps, bounds.min, bounds.max).astype(self.dtype))

    def read(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the output holds as floats, NCHW where it has four dimensions."""
        values = np.array(stored, dtype=np.float32).reshape(self.shape)
        if self.dtype != "float32":
            values = (values - np.float32(self.zero_point)) * np.float32(self.scale)
        return _moved(values, 3, 1) if self.is_nhwc and values.ndim == 4 else values


def _moved(values: NDArray[np.float32], source: int, target: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.moveaxis(values, source, target))
