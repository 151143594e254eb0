"""What sharing a table among identical devices gains: `python benchmarks/shared_devices.py`.

Made devices on a clock that counts, a few seconds in all: each drifts by a tenth while it works, a
visit scatters by 2 %, each job takes 3 s to start, and each model 20 ms to open. Printed are the
time, as a ratio of that of one device alone, and how far the rows and the devices' offsets lie from
the truth, beside the rows of one device alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import product

import numpy as np

from nas.latency.devices.pieces import Pieces, others_of
from nas.latency.readings import device_paces, measurements
from nas.latency.runner.timing import ANCHOR, Plan, Reading, visits

# As many subjects as the two spaces have with chains and networks, from 1 ms to 10 ms.
COSTS_MS = {f"layer {number}": 10 ** (number / 800) for number in range(800)} | {ANCHOR: 3.0}
NAMES = [name for name in COSTS_MS if name != ANCHOR]
PLAN = Plan()
START_S = 3.0
OPEN_S = 0.02
DRIFT = 0.1
SCATTER = 0.02
# How much longer each takes than the first.
GROUPS: Sequence[Sequence[float]] = (
    (1, 1),
    (1, 1.03),
    (1, 1.3),
    (1, 1, 1),
    (1, 1.04, 0.97),
    (1, 1, 1, 1),
    (1, 1, 10),
)


def alone() -> tuple[list[Reading], float]:
    """Return the readings of one device that times all in one job, and the seconds it takes."""
    rng = np.random.default_rng(0)
    seconds, readings = START_S + OPEN_S * len(NAMES), list[Reading]()
    for name, number in visits(NAMES, PLAN, seed=0):
        reading, visit_s = _visited(name, number, 1.0, len(readings), rng)
        readings.append(reading)
        seconds += visit_s
    return readings, seconds


def together(slowness: Sequence[float]) -> tuple[list[Reading], float]:
    """Return the readings of devices that share the work, and the seconds until the last."""
    rng = np.random.default_rng(0)
    pieces = Pieces(product(NAMES, PLAN.rounds), len(slowness))
    orders: dict[int, Iterator[tuple[str, int]]] = {}
    n_made, readings, now = [0] * len(slowness), list[Reading](), 0.0
    events: list[tuple[float, int]] = [(0.0, number) for number in range(len(slowness))]
    while pieces.left:
        now, number = heappop(events)
        visit = next(orders.get(number, iter(())), None)
        if visit is None:
            piece = pieces.take(number)
            names = {name for name, _ in piece}
            done = others_of(piece, PLAN.rounds)
            orders[number] = visits([*names], PLAN, seed=0, done=done)
            heappush(events, (now + START_S + OPEN_S * len(names), number))
            continue
        n_made[number] += 1
        reading, visit_s = _visited(*visit, slowness[number], n_made[number], rng, str(number))
        if reading.name == ANCHOR or pieces.is_made(visit):
            readings.append(reading)
        heappush(events, (now + visit_s, number))
    return readings, now


def _visited(
    name: str, number: int, slow: float, n_made: int, rng: np.random.Generator, device: str = ""
) -> tuple[Reading, float]:
    warmth = 1 + DRIFT * n_made / (len(NAMES) * PLAN.n_rounds)
    ms = COSTS_MS[name] * slow * warmth * (1 + SCATTER * rng.uniform(-1, 1))
    reading = Reading(name=name, round=number, at_s=0.0, times_ms=(ms,), device=device)
    return reading, (PLAN.n_warmups + PLAN.n_runs) * ms / 1000


def row_errors_percent(readings: Sequence[Reading]) -> tuple[float, float]:
    """Return the mean and the greatest error of the rows, a scale for all of them left out."""
    found = measurements(readings)
    ratios = np.array([found[name].ms / COSTS_MS[name] for name in NAMES])
    errors = 100 * abs(ratios / np.median(ratios) - 1)
    return float(errors.mean()), float(errors.max())


def offset_error_percent(paces: Mapping[str, float], slowness: Sequence[float]) -> float:
    """Return the greatest error of what a device is slower by than the first."""
    found = [paces[str(number)] / paces["0"] for number in range(len(slowness))]
    return float(100 * max(abs(np.divide(found, slowness) - 1)))


def main() -> None:
    """Print a line for one device and for each group."""
    readings, alone_s = alone()
    mean, worst = row_errors_percent(readings)
    print(f"{'one device':22} {alone_s:5.0f} s  rows err by {mean:.2f} %, {worst:.2f} % at most")
    for slowness in GROUPS:
        readings, seconds = together(slowness)
        mean, worst = row_errors_percent(readings)
        offset = offset_error_percent(device_paces(readings), slowness)
        most = sum(1 / one for one in slowness)
        print(
            f"{', '.join(map(str, slowness)):22} {seconds:5.0f} s  rows err by {mean:.2f} %, "
            f"{worst:.2f} % at most; {alone_s / seconds:.2f} times as fast, of {most:.2f}; "
            f"offsets err by {offset:.2f} % at most"
        )


if __name__ == "__main__":
    main()
