"""The hand-designed networks: their arch files, published accuracies and usual multipliers."""

import csv
from collections.abc import Iterator

from nas.arch import Arch
from nas.paths import find, names
from nas.text import read_text

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
                yield arch.scaled(float(width), int(resolution))


def published_top1(name: str) -> float | None:
    """Return a baseline's ImageNet top-1 from its paper, in percent, where one is published."""
    row = _rows("published_top1").get(name)
    return None if row is None else float(row["top1"])


def _rows(name: str) -> dict[str, dict[str, str]]:
    lines = read_text(find(FOLDER, name, ".csv")).splitlines()
    return {row["name"]: row for row in csv.DictReader(lines)}
