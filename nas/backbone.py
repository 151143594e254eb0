"""A network as a backbone: which layers give the features of each stride, and what they cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from nas.arch import Arch, Layer
from nas.errors import NasError, shown
from nas.ops import ops_of
from nas.scaling import make_divisible, scaled_squeeze

STRIDES = (4, 8, 16, 32)
"""What detectors and segmenters ask for where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """Where a feature map is taken: after layer number `layer`, or after its expansion alone.

    `stride` is that of the classification network, `reduction` the pixels of the image to a pixel
    of the map (the same unless an output stride holds it back).
    """

    stride: int
    reduction: int
    channels: int
    layer: int
    is_expansion: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """The layers of a network up to the last feature map, and where the maps are taken.

    A layer's kernel is spread by its dilation. Layers keep the order and the weights of the arch's;
    of a last layer whose expansion alone is taken, only that is left, as a convolution.
    """

    layers: tuple[Layer, ...]
    dilations: tuple[int, ...]
    taps: tuple[Tap, ...]

    @classmethod
    def of(
        cls,
        arch: Arch,
        strides: Sequence[int] | None = None,
        output_stride: int | None = None,
        at_expansion: bool = False,
    ) -> Self:
        """Return the backbone of a network.

        Args:
            arch: the network; its head is left out.
            strides: those to take, such as (8, 16, 32); by default what it has of 4, 8, 16, 32.
            output_stride: from this stride on the maps keep their size, and kernels are spread
                instead (atrous convolution), as segmentation does it.
            at_expansion: take the expansion of the block that leaves a stride in place of the
                stride's last layer, as SSDLite on MobileNetV2 and V3 does for stride 16; where
                that block has none it is the same map. The last stride has no such block.

        Raises:
            NasError: the network has no layer of a wanted stride.
        """
        ends = stage_ends(arch)
        wanted = _wanted(arch, ends, strides)
        if output_stride is not None and output_stride not in ends:
            raise _missing(arch, ends, f"output_stride={shown(output_stride)}")
        limit = output_stride or max(ends)
        layers, dilations = _spread(arch, limit)
        taps = [_tap(layers, stride, ends[stride], limit, at_expansion) for stride in wanted]
        last = taps[-1]
        if last.is_expansion:
            layers[last.layer] = _expansion_of(layers[last.layer])
        n_layers = last.layer + 1
        return cls(
            layers=tuple(layers[:n_layers]), dilations=tuple(dilations[:n_layers]), taps=tuple(taps)
        )

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the height and width of each feature map for an image of this size."""
        return [(-(-height // tap.reduction), -(-width // tap.reduction)) for tap in self.taps]

    def macs(self, height: int, width: int) -> int:
        """Return the multiply-adds for one image of `height` x `width` pixels."""
        return count_macs_at(self.layers, height, width)


def stage_ends(arch: Arch) -> dict[int, int]:
    """Return the number of the last layer of each stride, without the head."""
    stride, ends = 1, {}
    for number, layer in enumerate(arch.layers[:-1]):
        stride *= layer.stride
        ends[stride] = number
    return ends


def count_macs_at(layers: Iterable[Layer], height: int, width: int) -> int:
    """Return the multiply-adds of layers in a row for an image of `height` x `width` pixels.

    The layers' own `size` plays no part; pools, gates, additions and biases count as none.
    """
    macs = 0
    for layer in layers:
        rows = ops_of(replace(layer, size=height))
        columns = ops_of(replace(layer, size=width))
        macs += sum(
            row.out_size * column.out_size * row.weights
            for row, column in zip(rows, columns, strict=True)
        )
        height, width = -(-height // layer.stride), -(-width // layer.stride)
    return macs


def reduced_tail(arch: Arch, keeps_expansion: bool = True) -> Arch:
    """Return the network with half the channels in all layers of its greatest stride.

    MobileNetV3 does so for detection (arXiv:1905.02244, section 6.3), where the expansion of the
    first of these blocks is C4 and keeps its width, and for segmentation (section 6.4; by the
    authors' code that expansion is halved as well: `keeps_expansion=False`).
    """
    stride, first = 1, 0
    for number, layer in enumerate(arch.layers[:-1]):
        if layer.stride > 1:
            stride, first = stride * layer.stride, number
    layers = list(arch.layers)
    for number in range(first, len(layers)):
        layers[number] = _halved(
            layers[number],
            is_first=number == first,
            halves_middle=number > first or not keeps_expansion,
        )
    return replace(arch, name=f"{arch.name}_reduced", layers=tuple(layers))


def _wanted(arch: Arch, ends: dict[int, int], strides: Sequence[int] | None) -> list[int]:
    if strides is None:
        found = [stride for stride in STRIDES if stride in ends]
        if not found:
            raise _missing(arch, ends, "any of 4, 8, 16 and 32")
        return found
    if not strides or len(set(strides)) != len(strides):
        raise NasError(
            f"strides must name at least one stride and none twice, but are {shown(strides)}."
        )
    for stride in strides:
        if stride not in ends:
            raise _missing(arch, ends, f"stride {shown(stride)}")
    return sorted(strides)


def _missing(arch: Arch, ends: dict[int, int], what: str) -> NasError:
    known = ", ".join(map(str, ends))
    return NasError(f"{arch.name} has no layer of {what}. It has strides {known}: choose of these.")


def _spread(arch: Arch, limit: int) -> tuple[list[Layer], list[int]]:
    """Return the layers without the head, and their dilations, where no stride exceeds `limit`.

    As in TensorFlow's slim: the layer that would have strided keeps its kernel, those after it are
    spread by its stride. So each result of the strided network is among the results here.
    """
    layers, dilations = [], []
    stride, dilation, size = 1, 1, arch.resolution
    for layer in arch.layers[:-1]:
        is_held = stride * layer.stride > limit
        layers.append(replace(layer, size=size, stride=1 if is_held else layer.stride))
        dilations.append(dilation)
        size = layers[-1].out_size
        if is_held:
            dilation *= layer.stride
        else:
            stride *= layer.stride
    return layers, dilations


def _tap(layers: list[Layer], stride: int, end: int, limit: int, at_expansion: bool) -> Tap:
    reduction = min(stride, limit)
    following = layers[end + 1] if end + 1 < len(layers) else None
    if at_expansion and following is not None and following.has_expansion:
        return Tap(
            stride=stride,
            reduction=reduction,
            channels=following.mid_channels,
            layer=end + 1,
            is_expansion=True,
        )
    return Tap(stride=stride, reduction=reduction, channels=layers[end].out_channels, layer=end)


def _expansion_of(layer: Layer) -> Layer:
    return Layer(
        op="conv",
        size=layer.size,
        in_channels=layer.in_channels,
        out_channels=layer.mid_channels,
        act=layer.act,
    )


def _halved(layer: Layer, *, is_first: bool, halves_middle: bool) -> Layer:
    ins = layer.in_channels if is_first else make_divisible(layer.in_channels / 2)
    if layer.op == "head":
        return replace(layer, in_channels=ins)
    outs = make_divisible(layer.out_channels / 2)
    if layer.op != "mbconv" or not halves_middle:
        return replace(layer, in_channels=ins, out_channels=outs)
    mids = make_divisible(layer.mid_channels / 2)
    squeeze = scaled_squeeze(layer, ins, mids, outs)
    return replace(layer, in_channels=ins, mid_channels=mids, out_channels=outs, se=squeeze)
