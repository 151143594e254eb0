"""Latency tables of devices that a cost model stands for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Layer
from nas.latency.table import VERSION, LatencyTable, Row


class LayerModel(Protocol):
    """What a table needs of a cost model."""

    def predict_many_ms(self, layers: Sequence[Layer]) -> ArrayLike:
        """Return the ms of each layer."""


def modelled_table(
    name: str, layers: Iterable[Layer], cost_model: LayerModel, header: Mapping[str, str]
) -> LatencyTable:
    """Return the table with a modelled row for each distinct layer, in the order given."""
    distinct = list(dict.fromkeys(layers))
    predicted = zip(distinct, np.asarray(cost_model.predict_many_ms(distinct)), strict=True)
    rows = {layer: Row(layer=layer, ms=float(ms), source="modelled") for layer, ms in predicted}
    return LatencyTable(name=name, header={"version": str(VERSION), **header}, rows=rows)


def extended(table: LatencyTable, layers: Iterable[Layer], cost_model: LayerModel) -> LatencyTable:
    """Return the table with its rows as they are and modelled ones for what it lacks."""
    missing = table.missing(layers)
    if not missing:
        return table
    added = modelled_table(table.name, missing, cost_model, table.header)
    return LatencyTable(name=table.name, header=table.header, rows={**table.rows, **added.rows})
