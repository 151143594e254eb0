"""The modules of the MobileNet family; each is made from one `Layer`."""

from collections import OrderedDict

from torch import Tensor, nn

from nas.arch import Layer

# MobileNetV3's batch-norm decay of 0.99 (arXiv:1905.02244, section 6.1.1), in torch's convention.
BATCH_NORM_MOMENTUM = 0.01
BATCH_NORM_EPSILON = 1e-3


def activation(act: str) -> nn.Module:
    """Return the module of an activation's name."""
    modules = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish}
    return modules[act](inplace=True) if act in modules else nn.Identity()


class ConvNorm(nn.Sequential):
    """Convolve, normalise and activate: (N, in, H, W) to (N, out, ceil(H / stride), ...)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: str = "none",
    ) -> None:
        convolution = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
        parts = OrderedDict[str, nn.Module](conv=convolution, norm=norm)
        if act != "none":
            parts["act"] = activation(act)
        super().__init__(parts)


class SqueezeExcite(nn.Module):
    """Gate the channels by a hard sigmoid of their means (MobileNetV3's variant)."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(squeeze, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times its gate, of the same shape."""
        signal: Tensor = self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return x * signal


class Conv(ConvNorm):
    """A dense convolution."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            kernel=layer.kernel,
            stride=layer.stride,
            act=layer.act,
        )


class Separable(nn.Sequential):
    """MobileNetV1's block: depthwise, then pointwise convolution, both activated."""

    def __init__(self, layer: Layer) -> None:
        depthwise = ConvNorm(
            layer.in_channels,
            layer.in_channels,
            kernel=layer.kernel,
            stride=layer.stride,
            groups=layer.in_channels,
            act=layer.act,
        )
        pointwise = ConvNorm(layer.in_channels, layer.out_channels, act=layer.act)
        super().__init__(OrderedDict(depthwise=depthwise, pointwise=pointwise))


class MBConv(nn.Module):
    """The inverted residual of MobileNetV2, V3 and MnasNet."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        mid = layer.mid_channels
        parts = OrderedDict[str, nn.Module]()
        if layer.has_expansion:
            parts["expand"] = ConvNorm(layer.in_channels, mid, act=layer.act)
        if layer.se and layer.se_at == "expansion":
            parts["se"] = SqueezeExcite(mid, layer.se)
        parts["depthwise"] = ConvNorm(
            mid, mid, kernel=layer.kernel, stride=layer.stride, groups=mid, act=layer.act
        )
        if layer.se and layer.se_at == "depthwise":
            parts["se"] = SqueezeExcite(mid, layer.se)
        last_act = "none" if layer.linear else layer.act
        parts["project"] = ConvNorm(mid, layer.out_channels, act=last_act)
        if layer.se and layer.se_at == "projection":
            parts["se"] = SqueezeExcite(layer.out_channels, layer.se)
        self.body = nn.Sequential(parts)
        self.residual = layer.residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class Head(nn.Sequential):
    """Pool (N, in, H, W), pass an optional hidden layer, and classify: (N, classes)."""

    def __init__(self, layer: Layer, dropout: float) -> None:
        parts = OrderedDict[str, nn.Module](pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
        features = layer.in_channels
        if layer.mid_channels:
            parts["hidden"] = nn.Linear(features, layer.mid_channels)
            parts["act"] = activation(layer.act)
            features = layer.mid_channels
        parts["dropout"] = nn.Dropout(dropout)
        parts["classifier"] = nn.Linear(features, layer.out_channels)
        super().__init__(parts)
