"""The widths of a network that may be cut one by one, and the network with one of them cut.

As MobileNetV3 uses NetAdapt (arXiv:1905.02244, section 4.2): the expansion of one block, or the
bottleneck of all blocks that share it through their residuals.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from nas.arch import Arch, Layer
from nas.scaling import scaled_squeeze

DIVISOR = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """A number of channels: the expansion of a block, or the output that some layers share.

    `layers` are the numbers of the layers that make these channels, from 0.
    """

    kind: str
    layers: tuple[int, ...]
    channels: int

    def __str__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        where = f"layer {first}" if first == last else f"layers {first} to {last}"
        return f"{self.kind} of {where}"

    @property
    def smaller(self) -> range:
        """Return the multiples of 8 below, the greatest first."""
        return range((self.channels - 1) // DIVISOR * DIVISOR, 0, -DIVISOR)

    def cut(self, arch: Arch, channels: int) -> Arch:
        """Return a network with so many channels here; squeeze widths keep their ratio."""
        if self.kind == "expansion":
            return _changed(arch, mids={self.layers[0]: channels}, outs={})
        return _changed(arch, mids={}, outs=dict.fromkeys(self.layers, channels))

    def is_kept_apart(self, arch: Arch, channels: int) -> bool:
        """Tell whether every block that expands its input still does so with that width.

        A block whose expansion equals its input has none (see `nas.arch.Layer`): such a width would
        take a layer away.
        """
        pairs = zip(arch.layers, self.cut(arch, channels).layers, strict=True)
        return all(before.has_expansion == after.has_expansion for before, after in pairs)


def widths(arch: Arch) -> Iterator[Width]:
    """Yield every width that may be cut: expansions, then bottlenecks, in network order."""
    for number, layer in enumerate(arch.layers):
        if layer.has_expansion:
            yield Width(kind="expansion", layers=(number,), channels=layer.mid_channels)
    for shared in _bottlenecks(arch):
        channels = arch.layers[shared[0]].out_channels
        yield Width(kind="bottleneck", layers=shared, channels=channels)


def smallest(arch: Arch) -> tuple[Arch, Arch]:
    """Return the network with all widths at their least: expansions first, or bottlenecks first."""
    n = len(list(widths(arch)))
    return _least(arch, range(n)), _least(arch, reversed(range(n)))


def _least(arch: Arch, numbers: Iterable[int]) -> Arch:
    for number in numbers:
        width = list(widths(arch))[number]
        rising = reversed(width.smaller)
        least = next((one for one in rising if width.is_kept_apart(arch, one)), None)
        arch = arch if least is None else width.cut(arch, least)
    return arch


def _bottlenecks(arch: Arch) -> Iterator[tuple[int, ...]]:
    """Yield the layers that share an output through residuals, where blocks are among them."""
    shared: list[int] = []
    for number, layer in enumerate(arch.layers):
        if not layer.residual:
            yield from _of_blocks(arch, shared)
            shared = []
        shared.append(number)
    # The last group is the head's own: its output are the classes.


def _of_blocks(arch: Arch, shared: list[int]) -> Iterator[tuple[int, ...]]:
    if any(arch.layers[number].op == "mbconv" for number in shared):
        yield tuple(shared)


def _changed(arch: Arch, *, mids: Mapping[int, int], outs: Mapping[int, int]) -> Arch:
    layers: list[Layer] = []
    channels = arch.layers[0].in_channels
    for number, layer in enumerate(arch.layers):
        out = outs.get(number, layer.out_channels)
        changed = replace(layer, in_channels=channels, out_channels=out)
        if layer.op == "mbconv":
            mid = mids.get(number, layer.mid_channels) if layer.has_expansion else channels
            se = scaled_squeeze(layer, channels, mid, out)
            changed = replace(changed, mid_channels=mid, se=se)
        layers.append(changed)
        channels = out
    return replace(arch, layers=tuple(layers))
