"""The options of the commands that look at one network, and what they choose."""

from dataclasses import dataclass
from typing import Any

from nas.ablation import ablation_names, chosen_arch
from nas.arch import Arch
from nas.errors import NasError
from nas.latency.breakdown import Breakdown, adding_command
from nas.latency.hardware_tables import (
    chosen_table,
    hardware_of,
    measuring_options,
)
from nas.latency.table import LatencyTable


@dataclass(kw_only=True)
class NetworkOptions:
    """A network, and the table or the hardware that says what it costs."""

    arch: str | None = None
    hardware: dict[str, Any] | None = None
    table: str | None = None
    width: float = 1.0
    resolution: int | None = None
    ablate: Any = None

    def chosen_arch(self) -> Arch:
        """Return the network, scaled and ablated.

        Raises:
            NasError: none is named, or an option of it is wrong.
        """
        if self.arch is None:
            raise NasError(
                "arch must name a network: arch=mobilenet_v3_large, or arch=<file> with one of "
                "yours."
            )
        return chosen_arch(self.arch, self.width, self.resolution, self.ablate)

    def chosen_table(self) -> LatencyTable | None:
        """Return the table, or that of the hardware; None where neither is named.

        Raises:
            NasError: it is unknown, broken or not measured yet.
        """
        return chosen_table(self.hardware, self.table)

    def breakdown(self, arch: Arch, table: LatencyTable) -> Breakdown:
        """Return what each layer costs.

        Raises:
            NasError: the table lacks some; the message ends with the command that adds them.
        """
        return Breakdown.of(arch, table, self._adding_command(table))

    def _adding_command(self, table: LatencyTable) -> str:
        hardware = (self.hardware or {}).get("name") or hardware_of(table)
        more = measuring_options(hardware, table, self.table)
        width = None if self.width == 1 else f"{self.width:g}"
        names = ablation_names(self.ablate)
        ablate = f"[{','.join(names)}]" if names else None
        changes = {"width": width, "resolution": self.resolution, "ablate": ablate}
        return adding_command(hardware, str(self.arch), changes, more)
