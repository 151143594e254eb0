"""Which networks a proxy is judged on: a random sample, and more from inside a latency band."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, Layer
from nas.cost import count_macs
from nas.errors import NasError
from nas.latency.rows import Row
from nas.latency.table import LatencyTable
from nas.space import SearchSpace

STAND_IN = "MAdds"
"""The name of the table that counts MAdds where no device's is given."""
_TRIES = 1000
"""Networks that are drawn for each one wanted, before a band or a space counts as exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Different networks; `ms` by the table, in M MAdds where that stands in for one.

    `is_sample` marks the random sample, which figures over all networks are about; the others were
    sought in the band about its median. `band` is that band's half width as a share.
    """

    archs: tuple[Arch, ...]
    is_sample: NDArray[np.bool_]
    ms: NDArray[np.float64]
    band: float
    table: str

    @property
    def unit(self) -> str:
        """Return what `ms` counts: ms, or M MAdds."""
        return "M MAdds" if self.table == STAND_IN else "ms"

    @property
    def median_ms(self) -> float:
        """Return the middle of the band: the median of the sample."""
        return float(np.median(self.ms[self.is_sample]))

    @property
    def in_band(self) -> NDArray[np.bool_]:
        """Tell for each network whether it lies in the band."""
        return _in_band(self.ms, self.median_ms, self.band)

    def __len__(self) -> int:
        return len(self.archs)


def _in_band(ms: NDArray[np.float64], median_ms: float, band: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(ms - median_ms) <= band * median_ms)


def select(
    candidates: Iterable[Arch], table: LatencyTable, *, n: int | None, n_band: int, band: float
) -> Selection:
    """Return the first `n` different candidates (None: all), and the next `n_band` in their band.

    Fewer than `n_band` are returned where the candidates end before.

    Raises:
        NasError: fewer than `n` candidates, or the table lacks a layer.
    """
    different = _different(candidates)
    sample = list(islice(different, n))
    if n is not None and len(sample) < n:
        raise NasError(f"n must be at most {len(sample)}, as there are no more, but is {n}.")
    ms = table.predict_many_ms(sample)
    median_ms = float(np.median(ms))
    near = (
        one
        for one in islice(different, _TRIES * n_band)
        if _in_band(table.predict_many_ms([one]), median_ms, band)[0]
    )
    more = list(islice(near, n_band))
    return Selection(
        archs=(*sample, *more),
        is_sample=np.arange(len(sample) + len(more)) < len(sample),
        ms=np.concatenate([ms, table.predict_many_ms(more)]),
        band=band,
        table=table.name,
    )


def random_networks(space: SearchSpace, seed: int) -> Iterator[Arch]:
    """Yield networks with every choice drawn uniformly, as long as new ones come up."""
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    n_vain = 0
    while n_vain < _TRIES and len(seen) < space.size:
        arch = space.random(rng)
        n_vain = n_vain + 1 if arch.key() in seen else 0
        if arch.key() not in seen:
            seen.add(arch.key())
            yield arch


def shuffled(archs: Sequence[Arch], seed: int) -> Iterator[Arch]:
    """Yield all networks in a random order."""
    return (archs[number] for number in np.random.default_rng(seed).permutation(len(archs)))


def _different(candidates: Iterable[Arch]) -> Iterator[Arch]:
    seen: set[str] = set()
    for arch in candidates:
        if arch.key() not in seen:
            seen.add(arch.key())
            yield arch


def madds_table(layers: Iterable[Layer]) -> LatencyTable:
    """Return a table whose ms are M MAdds: what stands in for a device's."""
    rows = {
        layer: Row(layer=layer, ms=count_macs(layer) / 1e6, source="modelled")
        for layer in dict.fromkeys(layers)
    }
    return LatencyTable(name=STAND_IN, header={"device": STAND_IN}, rows=rows)
