"""The latency of a layer on a phone, modelled from public timings of blocks.

A layer is split into its primitives, each is priced by monotone terms with non-negative
coefficients (`nas.latency.terms`), and the sum is held between the times of smaller and larger
timed blocks (`nas.latency.bounds`). A larger kernel, expansion, width, resolution or squeeze is
therefore never cheaper, for any layer, whatever the coefficients are. Two layers compare only where
the larger one does all that the smaller does: an expansion is left out where mid equals in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from nas.arch import Layer
from nas.latency.bounds import Bounds, sizes_of
from nas.latency.cost_model_file import read_cost_model, write_cost_model
from nas.latency.features import hswish_elements, priced, priced_ops
from nas.latency.terms import TERMS, Array
from nas.ops import Op
from nas.paths import find

COST_MODELS = "latency_tables/cost_models"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Prices of what layers do on one device.

    `terms` holds the coefficients by name of term, in ms per unit of the term (a multiply-add, an
    element, a call ...); absent terms cost nothing. `hswish_ms` is what an h-swish takes above a
    ReLU, per element. `provenance` says what the model was fitted on, and how well.
    """

    device: str
    terms: Mapping[str, float]
    hswish_ms: float
    bounds: Bounds = field(default_factory=Bounds.none)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a cost-model file: the name of a shipped one, or a path.

        Raises:
            NasError: the file is missing, truncated, or holds what a cost model cannot.
        """
        return cls(**read_cost_model(find(COST_MODELS, name_or_path, ".json")))

    def save(self, path: str | Path) -> None:
        """Write the cost-model file; `load` gives an equal model."""
        write_cost_model(
            Path(path),
            device=self.device,
            terms=self.terms,
            hswish_ms=self.hswish_ms,
            bounds=self.bounds,
            provenance=self.provenance,
        )

    def predict_ms(self, layer: Layer) -> float:
        """Return the ms of one layer."""
        return float(self.predict_many_ms([layer])[0])

    def predict_many_ms(self, layers: Sequence[Layer]) -> Array:
        """Return the ms of each layer."""
        blocks = [priced_ops(layer) for layer in layers]
        ms = self.terms_ms(blocks)
        bounded = [row for row, layer in enumerate(layers) if layer.op == "mbconv"]
        ms[bounded] = self._bounded_ms([layers[row] for row in bounded], ms[bounded])
        return ms + self.hswish_ms * hswish_elements(blocks)

    def terms_ms(self, blocks: Sequence[Sequence[Op]]) -> Array:
        """Return the sum of the terms over the primitives of each block, h-swish as ReLU."""
        return priced(blocks, {TERMS[name]: price for name, price in self.terms.items()})

    def _bounded_ms(self, layers: Sequence[Layer], ms: Array) -> Array:
        core_ms = ms.copy()
        # The terms of most layers are those of their core: h-swish counts as ReLU there.
        other = [
            row
            for row, layer in enumerate(layers)
            if layer.act == "none" or not layer.linear or layer.se_at != "depthwise"
        ]
        core_ms[other] = self.terms_ms([priced_ops(core_of(layers[row])) for row in other])
        held = self.bounds.clamp(sizes_of(layers), core_ms)
        # Without activation a layer does less than its core, and may not cost more.
        is_bare = np.array([layer.act == "none" for layer in layers], dtype=np.bool_)
        return np.where(is_bare, np.minimum(ms, held), held + (ms - core_ms))


def core_of(layer: Layer) -> Layer:
    """Return the mbconv as it was timed, but for its h-swish: all-ReLU, linear, residual.

    Squeeze-and-excite was timed after the depthwise convolution.
    """
    return replace(layer, act="relu", linear=True, residual=True, se_at="depthwise")
