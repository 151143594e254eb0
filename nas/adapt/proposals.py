"""The proposals of a step: for each width, the least cut that saves enough."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas.adapt.prices import Prices
from nas.adapt.widths import Width, widths
from nas.arch import Arch
from nas.cost import count_macs

_SURE = 0.3
"""A cut whose share of MAdds promises less than this share of what is to be saved is not priced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A network with one width cut to `channels`, and its latency."""

    width: Width
    channels: int
    arch: Arch
    ms: float

    def __str__(self) -> str:
        return f"{self.width} from {self.width.channels} to {self.channels}"


def proposals(arch: Arch, ms: float, saved_ms: float, prices: Prices) -> list[Proposal]:
    """Return for each width that can save `saved_ms` of `ms` the greatest that does.

    All cuts that are looked at next are priced together, as measuring many at once is cheaper.
    """
    found: list[Proposal] = []
    waiting = [_cuts(arch, width, ms, saved_ms) for width in widths(arch)]
    while waiting:
        asked = [(cuts, next(cuts, None)) for cuts in waiting]
        tried = [(cuts, one) for cuts, one in asked if one is not None]
        prices.learn([arch for _, (_, _, arch) in tried])
        waiting = []
        for cuts, (width, channels, cut) in tried:
            cut_ms = prices.ms_of(cut)
            if cut_ms is None or ms - cut_ms < saved_ms:
                waiting.append(cuts)
            else:
                found.append(Proposal(width=width, channels=channels, arch=cut, ms=cut_ms))
    return sorted(found, key=_place)


def _cuts(
    arch: Arch, width: Width, ms: float, saved_ms: float
) -> Iterator[tuple[Width, int, Arch]]:
    macs = count_macs(arch)
    for channels in width.smaller:
        cut = width.cut(arch, channels)
        promised_ms = ms * (1 - count_macs(cut) / macs)
        if promised_ms >= _SURE * saved_ms and width.is_kept_apart(arch, channels):
            yield width, channels, cut


def _place(proposal: Proposal) -> tuple[str, Sequence[int]]:
    return proposal.width.kind, proposal.width.layers
