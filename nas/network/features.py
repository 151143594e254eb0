"""A network without its head: the feature maps that detectors and segmenters build upon."""

from collections import OrderedDict

from torch import Tensor, nn

from nas.arch import Layer
from nas.backbone import Backbone
from nas.network.blocks import MBConv


class Features(nn.Module):
    """The first layers of a network; `state_dict` keys are those of the network.

    Maps come as a list, finest first, as from timm and mmdetection: `zip` joins it to `channels`,
    `reductions` and `strides`, and `OrderedDict(zip(names, maps))` is what torchvision's FPN takes.

    Attributes:
        backbone: the plain data of all this, which counts (`backbone.macs(height, width)`).
        channels: the channels of each map.
        reductions: pixels of the image to a pixel of each map.
        strides: the strides that name the maps; an output stride makes reductions smaller.
    """

    def __init__(self, layers: nn.Sequential, backbone: Backbone) -> None:
        """Take over the layers of a built network (they are changed, not copied)."""
        super().__init__()
        self.backbone = backbone
        self.channels = tuple(tap.channels for tap in backbone.taps)
        self.reductions = tuple(tap.reduction for tap in backbone.taps)
        self.strides = tuple(tap.stride for tap in backbone.taps)
        kept = list(layers)[: len(backbone.layers)]
        for module, layer, dilation in zip(kept, backbone.layers, backbone.dilations, strict=True):
            _spread(module, layer, dilation)
        last = backbone.taps[-1]
        if last.is_expansion:
            kept[-1] = _expansion_alone(kept[-1])
        self.layers = nn.Sequential(*kept)
        self._expansions = {tap.layer for tap in backbone.taps[:-1] if tap.is_expansion}
        self._ends = {tap.layer for tap in backbone.taps} - self._expansions

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (N, channels, H, W) of any size to maps (N, C, ceil(H / r), ceil(W / r))."""
        maps = []
        x = images
        for number, layer in enumerate(self.layers):
            if number in self._expansions:
                assert isinstance(layer, MBConv)
                # A block that leaves a stride has no residual: it is its body.
                expand, *rest = layer.body
                x = expand(x)
                maps.append(x)
                for part in rest:
                    x = part(x)
            else:
                x = layer(x)
            if number in self._ends:
                maps.append(x)
        return maps


def _spread(module: nn.Module, layer: Layer, dilation: int) -> None:
    """Give the one convolution that looks beyond a pixel the stride and dilation that it has."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and (part.kernel_size[0] > 1 or part.stride[0] > 1):
            padding = dilation * (part.kernel_size[0] // 2)
            part.stride = (layer.stride, layer.stride)
            part.dilation, part.padding = (dilation, dilation), (padding, padding)


def _expansion_alone(block: nn.Module) -> nn.Module:
    expand = block.get_submodule("body.expand")
    body = nn.Sequential(OrderedDict(expand=expand))
    return nn.Sequential(OrderedDict(body=body))
