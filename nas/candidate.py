"""A network with everything that the comparison table, the files and the report say of it."""

from dataclasses import dataclass

from nas.arch import Arch
from nas.cost import count_macs, count_params, peak_memory_bytes

GROUPS = ("winner", "pareto", "baseline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network and its figures under one table and one proxy.

    `group` is winner, pareto or baseline; `study` the target it was searched for ("" for a
    baseline). `top1` and `top1_std` are the proxy's, in percent; `published_top1` the paper's, in
    percent. `layer_ms` has the table's ms of each layer.
    """

    name: str
    group: str
    study: str
    arch: Arch
    top1: float
    top1_std: float
    layer_ms: tuple[float, ...]
    published_top1: float | None = None

    @property
    def ms(self) -> float:
        """Return the latency on the table's device."""
        return sum(self.layer_ms)

    @property
    def macs(self) -> int:
        """Return the multiply-adds of one image."""
        return count_macs(self.arch)

    @property
    def params(self) -> int:
        """Return the number of parameters."""
        return count_params(self.arch)

    @property
    def peak_memory_bytes(self) -> int:
        """Return the most bytes of activations alive at once, in 32-bit floats."""
        return peak_memory_bytes(self.arch)
