"""The hand-designed networks: their arch files, published accuracies and usual multipliers."""

import csv
from collections.abc import Iterator
from math import nan

from nas.arch import Arch
from nas.errors import NasError, shown
from nas.paths import find, names
from nas.text import is_number, read_text

FOLDER = "search_spaces/baselines"


def baselines() -> list[Arch]:
    """Return every baseline at its own width and resolution, by name."""
    return [Arch.load(name) for name in names(FOLDER, ".yaml")]


def scaled_baselines() -> Iterator[Arch]:
    """Yield every baseline at each width and resolution that it is published for."""
    for arch in baselines():
        row = _rows("multipliers").get(arch.name, {"widths": "1", "resolutions": ""})
        for width in row["widths"].split():
            for resolution in row["resolutions"].split() or [str(arch.resolution)]:
                yield arch.scaled(_number(width), int(_number(resolution)))


def published_top1(name: str) -> float | None:
    """Return a baseline's ImageNet top-1 from its paper, in percent, where one is published."""
    row = _rows("published_top1").get(name)
    return None if row is None else _number(row["top1"])


def _rows(name: str) -> dict[str, dict[str, str]]:
    path = find(FOLDER, name, ".csv")
    try:
        found = list(csv.DictReader(read_text(path).splitlines(), restval="", restkey=""))
        return {row["name"]: row for row in found}
    except (csv.Error, KeyError) as error:
        raise NasError(
            f"{path} must have a column name, but: {error}. Correct the file."
        ) from error


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not is_number(value):
        raise NasError(f"figures of {FOLDER}/*.csv must be numbers, but one is {shown(text)}.")
    return value
