"""What timed runs say: raw times kept, the machine's own pace taken out, statistics as properties.

A busy machine works at several paces, minutes or milliseconds long. Visits that lie next to each
other in time share a pace, whatever they ran: how much slower than usual the neighbours of a visit
were tells how slow the machine was. Times are divided by that, so every figure means the same
machine: one at its quick decile, because other work can only slow it down.

Where several devices shared the work, a visit's neighbours are those on its own device, and what is
usual for a name comes from all of them: so a device that is slower as a whole is at a slow pace.
Figures then mean the device in the middle, each counted by its visits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nas.latency.runner.timing import ANCHOR, Reading

QUICK = 0.1
STABLE_SPREAD = 0.1
SETTLED_SPREAD = 0.05
# On a shared machine, three to five on each side made the two halves of the rounds agree best: nets
# within 1.8 %, layers within 2.2 %; the plain lowest decile gave 7 % and 8 %.
N_NEIGHBOURS = 4
N_SWEEPS = 3
# What a device's pace leaves in the usual times of its names halves in each sweep.
N_SHARED_SWEEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The times of one thing, a tuple a visit in the order of rounds, and the pace at each visit.

    A pace of 1.2 means that the machine was 1.2 times as slow as in its quick decile.
    """

    visits_ms: tuple[tuple[float, ...], ...]
    paces: tuple[float, ...]
    n_devices: int = 1

    def slowed(self, pace: float) -> "Measurement":
        """Return the same visits on a machine that is `pace` times as slow as it seemed."""
        return replace(self, paces=tuple(pace * one for one in self.paces))

    @property
    def n(self) -> int:
        """Return the number of timed runs."""
        return sum(map(len, self.visits_ms))

    @property
    def ms(self) -> float:
        """Return the median over the visits of their median, at the machine's quick pace."""
        medians = [np.median(times) for times in self.visits_ms]
        return float(np.median(np.divide(medians, self.paces)))

    @property
    def std_ms(self) -> float:
        """Return the standard deviation of `ms`, from the spread of the visits.

        A median of normal values scatters 1.25 times as much as their mean, and their quartiles lie
        1.35 standard deviations apart.
        """
        medians = np.divide([np.median(times) for times in self.visits_ms], self.paces)
        low, high = np.quantile(medians, (0.25, 0.75))
        return float(1.25 * (high - low) / 1.35 / np.sqrt(len(medians)))

    @property
    def halves_ms(self) -> tuple[float, float]:
        """Return `ms` of every other visit, and of those between: the same thing timed twice."""
        first = Measurement(visits_ms=self.visits_ms[::2], paces=self.paces[::2])
        second = Measurement(visits_ms=self.visits_ms[1::2], paces=self.paces[1::2])
        return first.ms, second.ms if second.visits_ms else first.ms

    @property
    def iqr_ms(self) -> float:
        """Return the distance between the quartiles of all times, at the machine's quick pace."""
        visits = zip(self.visits_ms, self.paces, strict=True)
        times = np.concatenate([np.divide(times, pace) for times, pace in visits])
        low, high = np.quantile(times, (0.25, 0.75))
        return float(high - low)

    @property
    def is_settled(self) -> bool:
        """Tell whether the two halves of the visits agree within a twentieth."""
        first, second = self.halves_ms
        return abs(first - second) < SETTLED_SPREAD * self.ms


def measurements(readings: Sequence[Reading]) -> dict[str, Measurement]:
    """Return what the visits, in order of time, say of each name."""
    visits: dict[str, list[tuple[Reading, float]]] = {}
    for reading, pace in zip(readings, paces(readings), strict=True):
        visits.setdefault(reading.name, []).append((reading, float(pace)))
    return {name: _measurement(pairs) for name, pairs in visits.items()}


def paces(readings: Sequence[Reading]) -> NDArray[np.float64]:
    """Return how slow the machine was at each visit, as its neighbours in time tell.

    A visit itself has no say in its own pace, or every outlier would excuse itself. What is usual
    for a name and the pace depend on each other, so both are found in turns.
    """
    found, quick = _slowness(readings)
    return np.asarray(found / np.median(quick) if readings else found, dtype=np.float64)


def device_paces(readings: Sequence[Reading]) -> dict[str, float]:
    """Return how slow each device is at its quick decile: 1 is the one in the middle."""
    devices = [reading.device for reading in readings]
    if len(set(devices)) < 2:
        return dict.fromkeys(devices, 1.0)
    _, quick = _slowness(readings)
    return dict(zip(devices, map(float, quick / np.median(quick)), strict=True))


def anchor_drift_percent(readings: Sequence[Reading]) -> float:
    """Return how far the anchor's slowest round lies above its fastest, in percent.

    A round's figure is the median over the anchor's visits in it, uncorrected. Of several devices,
    it is that of the one that drifted most.
    """
    rounds: dict[str, dict[int, list[float]]] = {}
    for reading in readings:
        if reading.name == ANCHOR:
            its_rounds = rounds.setdefault(reading.device, {})
            its_rounds.setdefault(reading.round, []).append(_median_ms(reading))
    drifts = []
    for its_rounds in rounds.values():
        medians = [float(np.median(times)) for times in its_rounds.values()]
        drifts.append(100 * (max(medians) / min(medians) - 1))
    return max(drifts, default=0.0)


def _measurement(pairs: Sequence[tuple[Reading, float]]) -> Measurement:
    # Several devices are in different rounds at a time; the halves are those of the rounds.
    pairs = sorted(pairs, key=lambda pair: pair[0].round)
    return Measurement(
        visits_ms=tuple(reading.times_ms for reading, _ in pairs),
        paces=tuple(pace for _, pace in pairs),
        n_devices=len({reading.device for reading, _ in pairs}),
    )


def _slowness(
    readings: Sequence[Reading],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how slow the device of each visit was then, and how slow it is at its quick decile."""
    found, quick = np.ones(len(readings)), np.ones(len(readings))
    if len(readings) <= N_NEIGHBOURS:
        return found, quick
    _, numbers = np.unique([reading.name for reading in readings], return_inverse=True)
    names, owners = np.unique([reading.device for reading in readings], return_inverse=True)
    devices = [np.flatnonzero(owners == owner) for owner in range(len(names))]
    times = np.array([_median_ms(reading) for reading in readings])
    for _ in range(N_SWEEPS if len(devices) == 1 else N_SHARED_SWEEPS):
        relative = times / _usual(times / found, numbers)[numbers]
        for own in devices:
            found[own] = _beside(relative[own])
    for own in devices:
        quick[own] = np.quantile(found[own], QUICK)
    return found, quick


def _beside(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each value's neighbours, itself left out."""
    reach = min(N_NEIGHBOURS, len(relative) - 1)
    if reach == 0:
        return relative
    padded = np.pad(relative, reach, mode="reflect")
    windows = sliding_window_view(padded, 2 * reach + 1)
    return np.asarray(np.median(np.delete(windows, reach, axis=1), axis=1), dtype=np.float64)


def _median_ms(reading: Reading) -> float:
    return float(np.median(reading.times_ms))


def _usual(times: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median time of each numbered name."""
    order = np.argsort(numbers, kind="stable")
    groups = np.split(times[order], np.cumsum(np.bincount(numbers))[:-1])
    return np.array([np.median(group) for group in groups])
