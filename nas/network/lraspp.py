"""LR-ASPP: segmentation on two maps of a backbone (arXiv:1905.02244, section 6.4, figure 10)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from nas.errors import NasError
from nas.heads import LRASPP_FILTERS, POOL, POOL_STRIDE, Cost, lraspp_cost
from nas.network.blocks import ConvNorm
from nas.network.features import Features
from nas.text import integer


class LRASPPHead(nn.Module):
    """Gate the coarse map by what surrounds each pixel, and add what the fine map says.

    The gate's pooling has windows of 49 x 49 pixels at strides of 16 and 20, or the whole map where
    that is smaller. The classes are told before the coarse map is enlarged, not after: the same
    function, as both are linear, for a quarter of the work.
    """

    def __init__(
        self, low_channels: int, high_channels: int, num_classes: int, filters: int = LRASPP_FILTERS
    ) -> None:
        """Take a fine map of `low_channels` and a coarse one of `high_channels`."""
        super().__init__()
        self.project = ConvNorm(high_channels, filters, act="relu")
        self.gate = nn.Sequential(nn.Conv2d(high_channels, filters, 1), nn.Sigmoid())
        self.high = nn.Conv2d(filters, num_classes, 1)
        self.low = nn.Conv2d(low_channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits (N, classes, h, w) of the fine map's size from [fine, coarse]."""
        low, high = maps
        window = (min(POOL[0], high.shape[2]), min(POOL[1], high.shape[3]))
        gate = self.gate(functional.avg_pool2d(high, window, POOL_STRIDE))
        projected = self.project(high) * _enlarged(gate, high)
        logits: Tensor = _enlarged(self.high(projected), low) + self.low(low)
        return logits


class LRASPP(nn.Module):
    """A backbone with an LR-ASPP head: the class of every pixel, of images of any size."""

    def __init__(self, backbone: Features, num_classes: int, filters: int = LRASPP_FILTERS) -> None:
        """Put the head on a backbone; the paper's has strides (8, 32) and `output_stride=16`.

        Raises:
            NasError: the backbone does not give two maps.
        """
        super().__init__()
        if len(backbone.channels) != 2:
            raise NasError(
                f"LR-ASPP takes two maps, but this backbone gives {len(backbone.channels)}. "
                "Build it with strides=(8, 32), output_stride=16."
            )
        self.backbone = backbone
        self.head = LRASPPHead(*backbone.channels, integer(num_classes, "num_classes"), filters)
        self._filters = filters

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes, H, W)."""
        return _enlarged(self.head(self.backbone(images)), images)

    def cost(self, height: int, width: int) -> Cost:
        """Return the multiply-adds and parameters for one image of this size."""
        return lraspp_cost(
            self.backbone.backbone,
            height,
            width,
            num_classes=self.head.low.out_channels,
            filters=self._filters,
        )


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
