"""How far a latency table can be trusted: its sums beside whole networks that were timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nas.errors import NasError
from nas.latency.agreement import Agreement
from nas.latency.csv_file import read_csv, write_csv
from nas.latency.rows import check_time, number
from nas.latency.verdict import verdict

SUFFIX = ".check.csv"
FAMILIES = ("unseen", "baseline")
TIMES = ("predicted_ms", "measured_ms", "first_ms", "second_ms")
COLUMNS = ("name", "family", *TIMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedNetwork:
    """A whole network: what the table predicts and what it took.

    `family` is `unseen` (drawn at random, and no part of the calibration) or `baseline`. `first_ms`
    and `second_ms` are the medians over the even and the odd rounds of the run that gave
    `measured_ms`, the median over all.
    """

    name: str
    family: str
    predicted_ms: float
    measured_ms: float
    first_ms: float
    second_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The networks of one check; each property is None where it has no network to speak of."""

    networks: tuple[CheckedNetwork, ...]

    @property
    def unseen(self) -> Agreement | None:
        """Return how the table agrees with the networks that it has not seen."""
        return _predicted(self._of("unseen"))

    @property
    def baselines(self) -> Agreement | None:
        """Return how the table agrees with the hand-designed networks."""
        return _predicted(self._of("baseline"))

    @property
    def repeat_unseen(self) -> Agreement | None:
        """Return how the unseen networks agree with themselves, measured twice."""
        return _repeated(self._of("unseen"))

    @property
    def repeat_baselines(self) -> Agreement | None:
        """Return how the hand-designed networks agree with themselves, measured twice."""
        return _repeated(self._of("baseline"))

    def _of(self, family: str) -> list[CheckedNetwork]:
        return [one for one in self.networks if one.family == family]

    def header(self) -> dict[str, str]:
        """Return the lines that the table's header gets; none where nothing was checked."""
        lines: dict[str, str] = {}
        if unseen := self.unseen:
            lines["check_networks"] = str(unseen.n)
            for name in ("mean_error", "bias", "within_5", "within_10", "worst"):
                lines[f"check_{name}_percent"] = f"{getattr(unseen, f'{name}_percent'):.1f}"
            lines["check_tau"] = f"{unseen.tau:.3f}"
        if repeat := self.repeat_unseen:
            lines["check_repeat_mean_error_percent"] = f"{repeat.mean_error_percent:.1f}"
            lines["check_repeat_tau"] = f"{repeat.tau:.3f}"
        if baselines := self.baselines:
            lines["check_baselines"] = str(baselines.n)
            lines["check_baselines_mean_error_percent"] = f"{baselines.mean_error_percent:.1f}"
            lines["check_baselines_worst_percent"] = f"{baselines.worst_percent:.1f}"
        return {key: value for key, value in lines.items() if value != "nan"}

    def verdict(self) -> str:
        """Say in plain words how far to trust the table; empty where nothing was checked."""
        return verdict(self.header())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file of a check.

        Raises:
            NasError: the file is missing or cut off, or a row is wrong; the line is named.
        """
        file = read_csv(path, COLUMNS)
        networks: dict[str, CheckedNetwork] = {}
        for line, cells in enumerate(file.rows, start=file.first_line):
            network = _read(cells, f"{path}, line {line}")
            if network.name in networks:
                raise NasError(
                    f"{path}, line {line}: a network may have one row, but {network.name!r} has "
                    "another above. Delete one."
                )
            networks[network.name] = network
        return cls(networks=tuple(networks.values()))

    def save(self, path: Path, header: Mapping[str, str]) -> None:
        """Write the file; `header` says under which conditions the networks ran."""
        rows = [
            (one.name, one.family, *(f"{getattr(one, name):.6f}" for name in TIMES))
            for one in self.networks
        ]
        write_csv(path, header, COLUMNS, rows)


def check_path(table: Path) -> Path:
    """Return where the check of a table lies."""
    return table.with_suffix(SUFFIX)


def _predicted(networks: Sequence[CheckedNetwork]) -> Agreement | None:
    return Agreement.of(
        [one.predicted_ms for one in networks], [one.measured_ms for one in networks]
    )


def _repeated(networks: Sequence[CheckedNetwork]) -> Agreement | None:
    return Agreement.of([one.first_ms for one in networks], [one.second_ms for one in networks])


def _read(cells: list[str], where: str) -> CheckedNetwork:
    if len(cells) != len(COLUMNS):
        raise NasError(f"{where} must have {len(COLUMNS)} cells, but has {len(cells)}.")
    row = dict(zip(COLUMNS, cells, strict=True))
    if row["family"] not in FAMILIES:
        raise NasError(
            f"{where}: family must be {' or '.join(FAMILIES)}, but is {row['family']!r}."
        )
    try:
        times = {name: number(row, name) for name in TIMES}
    except NasError as error:
        raise NasError(f"{where}: {error}") from error
    for name, ms in times.items():
        check_time(ms, f"{where}: {name}")
    return CheckedNetwork(name=row["name"], family=row["family"], **times)
