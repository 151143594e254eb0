"""What stands on a backbone, as plain data: the layers of SSDLite and LR-ASPP, and their counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from nas.arch import Layer
from nas.backbone import Backbone, count_macs_at
from nas.cost import count_params

EXTRA_CHANNELS = (512, 256, 256, 128)
"""Of the maps that SSDLite adds, each half as large as the one before (TensorFlow's object
detection API, `ssd_mobilenet_v2_feature_extractor`; torchvision has the same)."""
LRASPP_FILTERS = 128
POOL = (49, 49)
POOL_STRIDE = (16, 20)
"""The window of LR-ASPP's pooling, in pixels of its map (arXiv:1905.02244, figure 10)."""
_KERNEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Multiply-adds of one image, and parameters (a batch-norm has two a channel)."""

    macs: int
    params: int

    @classmethod
    def of(cls, backbone: Backbone, height: int, width: int) -> Self:
        """Return what a backbone costs for one image of `height` x `width` pixels."""
        return cls(
            macs=backbone.macs(height, width), params=sum(map(count_params, backbone.layers))
        )

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(macs=self.macs + other.macs, params=self.params + other.params)


def extra_layers(
    channels: int, outs: Sequence[int] = EXTRA_CHANNELS
) -> tuple[tuple[Layer, Layer], ...]:
    """Return SSDLite's layers above a backbone's last map: for each map a 1x1 and a separable one.

    Their `size` plays no part: detectors take images of any size.
    """
    found = []
    for out in outs:
        squeezed = Layer(
            op="conv", size=1, in_channels=channels, out_channels=out // 2, act="relu6"
        )
        strided = Layer(
            op="separable",
            size=1,
            in_channels=out // 2,
            out_channels=out,
            kernel=_KERNEL,
            stride=2,
            act="relu6",
        )
        found.append((squeezed, strided))
        channels = out
    return tuple(found)


def ssdlite_sizes(
    backbone: Backbone, height: int, width: int, n_extras: int
) -> list[tuple[int, int]]:
    """Return height and width of SSDLite's maps: the backbone's, then each half of the last."""
    sizes = backbone.sizes(height, width)
    for _ in range(n_extras):
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def ssdlite_cost(
    backbone: Backbone,
    height: int,
    width: int,
    *,
    num_classes: int,
    n_anchors: Sequence[int],
    extras: Sequence[int] = EXTRA_CHANNELS,
) -> Cost:
    """Return the cost of SSDLite on a backbone, the backbone included.

    `n_anchors` are the anchors to a pixel of each map, `num_classes` those without background.
    """
    channels = [tap.channels for tap in backbone.taps]
    sizes = ssdlite_sizes(backbone, height, width, len(extras))
    total = Cost.of(backbone, height, width)
    pairs = extra_layers(channels[-1], extras)
    for pair, size in zip(pairs, sizes[len(channels) - 1 :], strict=False):
        total += Cost(macs=count_macs_at(pair, *size), params=sum(map(count_params, pair)))
        channels.append(pair[-1].out_channels)
    for width_of_map, size, n in zip(channels, sizes, n_anchors, strict=True):
        for outputs in (n * (num_classes + 1), n * 4):
            total += _predictor_cost(width_of_map, size, outputs)
    return total


def _predictor_cost(channels: int, size: tuple[int, int], outputs: int) -> Cost:
    """Return that of a depthwise convolution with batch-norm and a 1x1 one with biases."""
    weights = _KERNEL**2 * channels + channels * outputs
    return Cost(macs=size[0] * size[1] * weights, params=weights + 2 * channels + outputs)


def lraspp_cost(
    backbone: Backbone,
    height: int,
    width: int,
    *,
    num_classes: int,
    filters: int = LRASPP_FILTERS,
) -> Cost:
    """Return the cost of LR-ASPP on a backbone of two maps, the backbone included."""
    low, high = (tap.channels for tap in backbone.taps)
    low_size, high_size = backbone.sizes(height, width)
    n_low, n_high = low_size[0] * low_size[1], high_size[0] * high_size[1]
    n_pooled = pooled(high_size[0], 0) * pooled(high_size[1], 1)
    macs = (n_high + n_pooled) * high * filters
    macs += (n_high * filters + n_low * low) * num_classes
    params = high * filters + 2 * filters  # with batch-norm
    params += (high + 1) * filters  # the gate
    params += (filters + low + 2) * num_classes
    return Cost.of(backbone, height, width) + Cost(macs=macs, params=params)


def pooled(size: int, axis: int) -> int:
    """Return how many windows of LR-ASPP's pooling fit along an axis (0: height)."""
    return (size - min(size, POOL[axis])) // POOL_STRIDE[axis] + 1
