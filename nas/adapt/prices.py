"""What networks of any width cost: by a table's rows, a cost model's, or rows measured just now."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from nas.arch import Arch, Layer
from nas.latency.modelled import LayerModel, extended
from nas.latency.table import LatencyTable


class Prices(Protocol):
    """The latency of networks, where it is known or can be had."""

    def learn(self, archs: Sequence[Arch]) -> None:
        """Find out what the networks cost, all at once, where that takes time."""

    def ms_of(self, arch: Arch) -> float | None:
        """Return the latency of a network, None where the price of a layer is not known."""

    def known(self) -> LatencyTable:
        """Return the table with every row that is known by now."""


class KnownPrices:
    """The rows of a table, and no others: widths without rows are not proposed."""

    def __init__(self, table: LatencyTable) -> None:
        self._table = table

    def learn(self, archs: Sequence[Arch]) -> None:
        """Do nothing: the table is all there is."""

    def ms_of(self, arch: Arch) -> float | None:
        """Return the sum of the rows, None where one is missing."""
        return None if self._table.missing(arch) else self._table.predict_ms(arch)

    def known(self) -> LatencyTable:
        """Return the table."""
        return self._table


class ModelledPrices:
    """The rows of a table; a cost model's where there is none."""

    def __init__(self, table: LatencyTable, cost_model: LayerModel) -> None:
        self._table, self._cost_model = table, cost_model
        self._ms = {layer: row.ms for layer, row in table.rows.items()}

    def learn(self, archs: Sequence[Arch]) -> None:
        """Price all layers that are missing, in one go."""
        missing = [layer for layer in _layers(archs) if layer not in self._ms]
        if missing:
            priced = extended(self._table, missing, self._cost_model)
            self._ms |= {layer: priced.rows[layer].ms for layer in missing}

    def ms_of(self, arch: Arch) -> float:
        """Return the sum of the layers' ms."""
        self.learn([arch])
        return sum(map(self._ms.__getitem__, arch.layers))

    def known(self) -> LatencyTable:
        """Return the table with every row that was asked for."""
        return extended(self._table, self._ms, self._cost_model)


class MeasuredPrices(KnownPrices):
    """The rows of a table; what is missing is measured on the device, a batch at a time.

    `measure` takes the missing layers and returns the table with their rows.
    """

    def __init__(
        self, table: LatencyTable, measure: Callable[[Sequence[Layer]], LatencyTable]
    ) -> None:
        super().__init__(table)
        self._measure = measure

    def learn(self, archs: Sequence[Arch]) -> None:
        """Measure the layers that are missing.

        Raises:
            NasError: the device is lost, or it cannot run them.
        """
        missing = self._table.missing(_layers(archs))
        if missing:
            self._table = self._measure(missing)


def _layers(archs: Iterable[Arch]) -> list[Layer]:
    return list(dict.fromkeys(layer for arch in archs for layer in arch.layers))
