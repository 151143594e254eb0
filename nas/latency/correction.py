"""From a layer timed alone to what it costs inside a network, as the calibration found it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from nas.arch import Layer
from nas.errors import NasError
from nas.ops import ops_of
from nas.text import is_number

# Millions: 4 MB of fp32, a core's usual share of the last cache.
CACHED_WEIGHTS = 1.0
FIELDS = ("scale", "boundary_ms", "weights_ms", "deviation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What every layer's isolated ms is corrected by.

    `scale` is a share of it, `boundary_ms` and `weights_ms` are for a million activations at the
    layer's borders and a million weights; `deviation` is how far the layers scatter around that,
    as a share of their isolated ms.
    """

    scale: float
    boundary_ms: float
    weights_ms: float
    deviation: float

    def apply(self, layer: Layer, isolated_ms: float) -> float:
        """Return the ms of a layer that no calibration network holds."""
        boundary, weights = layer_counts(layer)
        moved = self.boundary_ms * boundary + self.weights_ms * weights
        return max(isolated_ms * (1 + self.scale) + moved, isolated_ms / 4)

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name):.6g}" for name in FIELDS)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the form that a table's header holds.

        Raises:
            NasError: a field is missing or no number.
        """
        try:
            words = dict(word.split("=", 1) for word in text.split())
            found = {name: float(words[name]) for name in FIELDS}
            if not all(map(is_number, found.values())):
                raise ValueError("no number")
            return cls(**found)
        except (KeyError, ValueError) as error:
            raise NasError(
                f"the correction of a table must hold {', '.join(FIELDS)} as numbers, but is "
                f"{text[:200]!r}. Measure the table again with fresh=true."
            ) from error


def layer_counts(layer: Layer) -> tuple[float, float]:
    """Return millions of activations that cross the layer's borders, and of weights that cool down.

    Weights count as far as caches hold them while a layer runs alone, time after time. What is
    more comes from memory then, too, as in a network; so do a head's, read once for one image.
    """
    weights = 0 if layer.op == "head" else sum(op.weights for op in ops_of(layer))
    return outer_boundary((layer,)), min(weights / 1e6, CACHED_WEIGHTS)


def outer_boundary(layers: Sequence[Layer]) -> float:
    """Return millions of activations that enter the first and leave the last of the layers.

    The image that enters a network and the logits that leave it cross no border between layers.
    """
    first, last = layers[0], layers[-1]
    entering = 0 if first.in_channels <= 3 else first.size**2 * first.in_channels
    leaving = 0 if last.op == "head" else last.out_size**2 * last.out_channels
    return (entering + leaving) / 1e6
