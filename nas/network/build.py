"""From an `Arch` to a plain torch module."""

from torch import Tensor, nn

from nas.arch import Arch, Layer
from nas.network.blocks import Conv, Head, MBConv, Separable

# MobileNetV3's "dropout of 0.8" is the share that is kept (arXiv:1905.02244, section 6.1.1).
DROPOUT = 0.2


class Network(nn.Module):
    """The layers of an `Arch` in a row; `state_dict` keys are `layers.<number>.<part>...`."""

    def __init__(self, arch: Arch, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(build_layer(layer, dropout) for layer in arch.layers))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, classes)."""
        logits: Tensor = self.layers(images)
        return logits


def build(arch: Arch, num_classes: int | None = None, dropout: float = DROPOUT) -> Network:
    """Return the network of an arch with fresh weights, for `num_classes` (default: the arch's)."""
    if num_classes is not None:
        arch = arch.with_num_classes(num_classes)
    network = Network(arch, dropout)
    network.apply(_initialise)
    return network


def build_layer(layer: Layer, dropout: float = DROPOUT) -> nn.Module:
    """Return the module of one layer, as a latency table times it and a network holds it."""
    if layer.op == "head":
        return Head(layer, dropout)
    return _MODULES[layer.op](layer)


_MODULES: dict[str, type[Conv] | type[Separable] | type[MBConv]] = {
    "conv": Conv,
    "separable": Separable,
    "mbconv": MBConv,
}


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)
