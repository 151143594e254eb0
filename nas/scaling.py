"""Width and resolution multipliers: a network with final integers in, another one out."""

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from nas.errors import NasError

if TYPE_CHECKING:
    from nas.arch import Arch, Layer

    AnyArch = TypeVar("AnyArch", bound=Arch)

SCALINGS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "mnasnet")
"""The families' own rules for a width multiplier; no two agree.

mobilenet_v1: every width times the multiplier, rounded down, at least 8.
mobilenet_v2: block widths are rounded to 8, expansions keep their ratio to the block's input, the
    last convolution grows with the multiplier and never shrinks.
mobilenet_v3: as V2 with expansions rounded to 8 as well, squeeze widths a quarter of the
    expansion, the last convolution scaled, the head's hidden layer not.
mnasnet: as V2 with squeeze widths in ratio to the block's input and the last convolution fixed.
"""


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never by more than 10 % down (MobileNetV2's code)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def scale(arch: "AnyArch", width: float, resolution: int | None) -> "AnyArch":
    """Return `arch` with its widths times `width`, for images of `resolution` pixels.

    Raises:
        NasError: a width outside [0.1, 4] or a resolution outside [8, 2048].
    """
    if not (isfinite(width) and 0.1 <= width <= 4):
        raise NasError(f"width must be from 0.1 to 4, but is {width}.")
    if resolution is not None and not 8 <= resolution <= 2048:
        raise NasError(f"resolution must be from 8 to 2048 pixels, but is {resolution}.")
    size = resolution or arch.resolution
    channels = arch.layers[0].in_channels
    layers: list[Layer] = []
    for layer in arch.layers:
        is_last_conv = len(layers) == len(arch.layers) - 2 and layer.op == "conv"
        widths = _widths(layer, channels, width, arch.scaling, is_last_conv)
        layers.append(replace(layer, size=size, in_channels=channels, **widths))
        channels, size = layers[-1].out_channels, layers[-1].out_size
    return replace(arch, name=_name(arch, width, resolution), layers=tuple(layers))


def _widths(
    layer: "Layer", in_channels: int, width: float, scaling: str, is_last_conv: bool
) -> dict[str, Any]:
    if width == 1 or layer.op == "head":
        return {}
    out = {"out_channels": _out_channels(layer.out_channels, width, scaling, is_last_conv)}
    if layer.op != "mbconv":
        return out
    mid = in_channels * layer.mid_channels / layer.in_channels
    mid_channels = make_divisible(mid) if scaling == "mobilenet_v3" else max(1, round(mid))
    squeeze = scaled_squeeze(layer, in_channels, mid_channels, out["out_channels"])
    return {**out, "mid_channels": mid_channels, "se": squeeze}


def _out_channels(channels: int, width: float, scaling: str, is_last_conv: bool) -> int:
    if scaling == "mobilenet_v1":
        return max(8, int(channels * width))
    if is_last_conv and scaling == "mobilenet_v2":
        return make_divisible(channels * max(1.0, width))
    if is_last_conv and scaling == "mnasnet":
        return channels
    return make_divisible(channels * width)


def scaled_squeeze(layer: "Layer", in_channels: int, mid_channels: int, out_channels: int) -> int:
    """Return a block's squeeze channels for other widths, by the rule that gave it its own."""
    if not layer.se:
        return 0
    is_late = layer.se_at == "projection"
    gated, new_gated = (
        (layer.out_channels, out_channels) if is_late else (layer.mid_channels, mid_channels)
    )
    if layer.se == make_divisible(gated / 4):
        return make_divisible(new_gated / 4)
    return max(1, int(in_channels * layer.se / layer.in_channels))


def _name(arch: "Arch", width: float, resolution: int | None) -> str:
    name = arch.name if width == 1 else f"{arch.name}_w{width:g}"
    return name if resolution in (None, arch.resolution) else f"{name}_r{resolution}"
