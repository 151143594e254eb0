"""CSV files that open with `# key: value` lines: read strictly, written whole."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path

from nas.errors import NasError
from nas.text import printable, read_text, write_text

VERSION = 1
MAX_ROWS = 200_000
MAX_HEADER = 1000
MAX_CELL = 10_000
"""Characters of a line of the header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFile:
    """What a file holds; `first_line` is the number of the line of `rows[0]`."""

    header: dict[str, str]
    columns: tuple[str, ...]
    rows: list[list[str]]
    first_line: int


def read_csv(path: Path, required: Sequence[str], *optional: Sequence[str]) -> CsvFile:
    """Read a file that has the required columns and then, of each optional group, all or none.

    Raises:
        NasError: the file is missing, cut off, or has another version or other columns.
    """
    text = read_text(path)
    if text.count("\n") > MAX_ROWS + MAX_HEADER:
        raise NasError(f"{path} must have at most {MAX_ROWS:,} rows, but has more lines.")
    lines = text.splitlines()
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    header = dict(_header_item(line) for line in comments)
    if header.get("version") != str(VERSION):
        raise NasError(f"{path} must begin with `# version: {VERSION}`. Measure the table again.")
    try:
        body = list(csv.reader(lines[len(comments) :]))
    except csv.Error as error:
        raise NasError(f"{path} is not readable CSV: {error}. Measure the table again.") from error
    columns = tuple(body[0]) if body else ()
    groups = [group if set(group) <= set(columns) else () for group in optional]
    if columns != (*required, *chain.from_iterable(groups)):
        found = ",".join(columns) or "nothing"
        more = "".join(f" and, if any, {','.join(group)}" for group in optional)
        raise NasError(
            f"{path} must have the columns {','.join(required)}{more}, but has {found[:200]}."
        )
    if len(body) - 1 > MAX_ROWS:
        raise NasError(f"{path} must have at most {MAX_ROWS:,} rows, but has {len(body) - 1:,}.")
    if not text.endswith("\n"):
        raise NasError(f"{path} is cut off in line {len(lines)}. Fetch or measure it again.")
    return CsvFile(header=header, columns=columns, rows=body[1:], first_line=len(comments) + 2)


def write_csv(
    path: Path,
    header: Mapping[str, str],
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> None:
    """Write a file that `read_csv` reads; a header's value is written on one line."""
    text = io.StringIO()
    for key, value in {"version": VERSION, **header}.items():
        text.write(f"# {key}: {' '.join(str(value).split())}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _header_item(line: str) -> tuple[str, str]:
    key, _, value = printable(line[1:], MAX_CELL).partition(":")
    return key.strip(), value.strip()
