"""From an `Arch` to a plain torch module."""

from collections.abc import Sequence
from typing import Literal, overload

from torch import Tensor, nn

from nas.arch import Arch, Layer
from nas.backbone import Backbone
from nas.cost import count_params
from nas.errors import NasError
from nas.network.blocks import Conv, Head, MBConv, Separable
from nas.network.features import Features

# MobileNetV3's "dropout of 0.8" is the share that is kept (arXiv:1905.02244, section 6.1.1).
DROPOUT = 0.2
MAX_WEIGHTS = 2**31


class Network(nn.Module):
    """The layers of an `Arch` in a row; `state_dict` keys are `layers.<number>.<part>...`."""

    def __init__(self, arch: Arch, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(build_layer(layer, dropout) for layer in arch.layers))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, classes)."""
        logits: Tensor = self.layers(images)
        return logits


@overload
def build(
    arch: Arch,
    num_classes: int | None = None,
    dropout: float = DROPOUT,
    *,
    features_only: Literal[False] = False,
) -> Network: ...


@overload
def build(
    arch: Arch,
    *,
    features_only: Literal[True],
    strides: Sequence[int] | None = None,
    output_stride: int | None = None,
    at_expansion: bool = False,
) -> Features: ...


def build(
    arch: Arch,
    num_classes: int | None = None,
    dropout: float = DROPOUT,
    *,
    features_only: bool = False,
    strides: Sequence[int] | None = None,
    output_stride: int | None = None,
    at_expansion: bool = False,
) -> Network | Features:
    """Return the network of an arch with fresh weights, for `num_classes` (default: the arch's).

    With `features_only` it is a backbone, which gives the feature maps of the strides; what
    `strides`, `output_stride` and `at_expansion` choose, `nas.backbone.Backbone.of` says.

    Raises:
        NasError: the network lacks a wanted stride, or an option does not go with the others.
    """
    if features_only and num_classes is not None:
        raise NasError("features have no classes, but num_classes is given. Leave it out.")
    if not features_only and (strides is not None or output_stride is not None or at_expansion):
        raise NasError(
            "strides, output_stride and at_expansion choose features. Add features_only=True."
        )
    check_size(arch)
    chosen = Backbone.of(arch, strides, output_stride, at_expansion) if features_only else None
    network = Network(arch if num_classes is None else arch.with_num_classes(num_classes), dropout)
    network.apply(_initialise)
    return network if chosen is None else Features(network.layers, chosen)


def check_size(network: Arch | Layer) -> None:
    """Refuse a network that no machine holds: an arch file may name one in a few words.

    Raises:
        NasError: it has more than 2 billion weights.
    """
    n_weights = count_params(network)
    if n_weights > MAX_WEIGHTS:
        raise NasError(
            f"a network must have at most {MAX_WEIGHTS:,} weights, but {n_weights:,} are asked "
            "for. Choose a smaller one."
        )


def build_layer(layer: Layer, dropout: float = DROPOUT) -> nn.Module:
    """Return the module of one layer, as a latency table times it and a network holds it."""
    check_size(layer)
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
