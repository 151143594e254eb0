"""What an h-swish costs above a ReLU: from MobileNetV3-Large's times in table 5 of its paper."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from nas.arch import Arch, Layer
from nas.latency.cost_model import CostModel
from nas.latency.features import hswish_elements, priced_ops
from nas.latency.terms import Array

ALL_RELU_MS = 50.5
HSWISH_MS = {112: 51.0, 80: 51.4, 16: 53.5}
"""Pixel 1 by the fewest output channels of a layer with h-swish; the paper's other variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HswishEffect:
    """The all-ReLU network, and for each variant its h-swish elements and its added time."""

    all_relu: Sequence[Layer]
    elements: Array
    shares: Array

    @classmethod
    def published(cls) -> Self:
        """Return the effect on MobileNetV3-Large."""
        layers = Arch.load("mobilenet_v3_large").layers
        variants = [variant(layers, fewest) for fewest in HSWISH_MS]
        blocks = [[op for layer in layers for op in priced_ops(layer)] for layers in variants]
        return cls(
            all_relu=variant(layers, None),
            elements=hswish_elements(blocks),
            shares=np.array(list(HSWISH_MS.values())) / ALL_RELU_MS - 1,
        )

    def per_element_ms(self, model: CostModel) -> float:
        """Return the price of an h-swish that misses the published shares least."""
        all_relu_ms = model.terms_ms([priced_ops(layer) for layer in self.all_relu]).sum()
        return float(all_relu_ms * (self.elements @ self.shares) / (self.elements**2).sum())


def variant(layers: Sequence[Layer], fewest_channels: int | None) -> list[Layer]:
    """Return the layers with h-swish where they have enough output channels, else ReLU."""
    return [
        layer if layer.act == "none" else replace(layer, act=_act_of(layer, fewest_channels))
        for layer in layers
    ]


def _act_of(layer: Layer, fewest_channels: int | None) -> str:
    if fewest_channels is None:
        return "relu"
    # A head's last layer is the classifier, without activation.
    channels = layer.mid_channels if layer.op == "head" else layer.out_channels
    return "hswish" if channels >= fewest_channels else "relu"
