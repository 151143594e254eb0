"""The raw times beside a table: `<table>.raw.jsonl`, a line a visit, written as it ends.

A later session that adds rows to a finished table has a file of its own, `<table>.raw-2.jsonl`.

The first line holds the conditions. Where several devices measured, each visit names its own. A run
that was interrupted, also by `kill -9` in the middle of a line, goes on from the whole lines.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.errors import NasError
from nas.latency.runner.timing import Reading
from nas.text import is_number, read_text, write_text

VERSION = "1"
SUFFIX = ".raw.jsonl"
MAX_BYTES = 256 * 2**20
_START_AGAIN = "Measure all again with fresh=true, or name another file with table=."


def raw_times_path(table: Path, n_earlier: int = 0) -> Path:
    """Return where the raw times of a table's session lie, by the number of finished ones."""
    return table.with_suffix(f".raw-{n_earlier + 1}.jsonl" if n_earlier else SUFFIX)


def read_raw_times(path: Path, conditions: Mapping[str, str]) -> list[Reading]:
    """Return what earlier runs measured; nothing where there is no file.

    Raises:
        NasError: a line is broken, or the file was written under other conditions.
    """
    lines = _whole_lines(path)
    if not lines:
        return []
    first = _object(lines[0], f"{path}, line 1")
    check_conditions(first, {"version": VERSION, **conditions}, path)
    return [_reading(line, f"{path}, line {number}") for number, line in enumerate(lines[1:], 2)]


@contextmanager
def appending(path: Path, conditions: Mapping[str, str]) -> Iterator[Callable[[Reading], None]]:
    """Open the raw times to go on with them; yield what adds a reading."""
    first = json.dumps({"version": VERSION, **conditions})
    # Rewriting the whole lines drops a torn last one, which would swallow the next.
    write_text(path, "".join(f"{line}\n" for line in _whole_lines(path) or [first]))
    # Without a buffer, which would be written again, and fail again, when the file is closed.
    with path.open("ab", buffering=0) as file:

        def append(reading: Reading) -> None:
            line = json.dumps(reading.content()).encode() + b"\n"
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError as error:
                raise NasError(
                    f"{path} cannot be written: {error.strerror}. Make room; the same command "
                    "goes on."
                ) from error

        yield append


def check_conditions(found: Mapping[str, Any], wanted: Mapping[str, str], path: Path) -> None:
    """Refuse to mix times that were taken under different conditions."""
    for key, value in wanted.items():
        if found.get(key) != value:
            raise NasError(
                f"{path} must be measured with {key} {value} to be continued, but has "
                f"{found.get(key)!r}. {_START_AGAIN}"
            )


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return read_text(path, MAX_BYTES).split("\n")[:-1]


def _reading(line: str, where: str) -> Reading:
    content = _object(line, where)
    device = content.pop("device", "")
    names = {"name", "round", "at_s", "times_ms"}
    if content.keys() != names or not all(
        isinstance(one, str) for one in (device, content["name"])
    ):
        raise NasError(f"{where} must hold name, round, at_s and times_ms. {_START_AGAIN}")
    times_ms, number = content["times_ms"], content["round"]
    is_valid = isinstance(times_ms, list) and times_ms and all(map(_is_time, times_ms))
    if not (
        is_valid and isinstance(number, int) and _is_time(number) and _is_time(content["at_s"])
    ):
        raise NasError(f"{where} must hold numbers of at least 0. {_START_AGAIN}")
    return Reading(
        name=content["name"],
        round=number,
        at_s=float(content["at_s"]),
        times_ms=tuple(map(float, times_ms)),
        device=device,
    )


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NasError(f"{where} is not readable JSON: {error}. {_START_AGAIN}") from error
    if not isinstance(content, dict):
        raise NasError(f"{where} must be a JSON object. {_START_AGAIN}")
    return content


def _is_time(value: object) -> bool:
    return is_number(value) and value >= 0  # type: ignore[operator]
