"""Random networks of a space, many of them near the latencies that are searched for."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.space import SearchSpace

_DRAWN_FOR_EACH = 4
"""Networks that are drawn for each that is kept: a band round the target is a part of the range."""


def candidates_of(
    space: SearchSpace, table: LatencyTable, targets_ms: Sequence[float], n: int, seed: int
) -> list[Arch]:
    """Return up to n different random networks: half as they come, half those nearest to a target.

    The first half shows what every choice does; in the other the best networks will be found.

    Raises:
        NasError: the table has no row for some layer.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, Arch] = {}
    for _ in range(_DRAWN_FOR_EACH * n):
        arch = space.random(rng)
        drawn.setdefault(arch.key(), arch)
    kept = dict(islice(drawn.items(), n // 2))
    others = [arch for key, arch in drawn.items() if key not in kept]
    octaves = np.log2(table.predict_many_ms(others))
    places = len(targets_ms)
    for number, target_ms in enumerate(targets_ms):
        n_wanted = (n - len(kept)) // (places - number)
        nearest = np.argsort(np.abs(octaves - np.log2(target_ms)), kind="stable")
        new = (others[index] for index in nearest if others[index].key() not in kept)
        kept |= {arch.key(): arch for arch in islice(new, n_wanted)}
    return list(kept.values())
