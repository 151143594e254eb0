"""Read the project's text files with bounds, so that a broken one is named and never costs more."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from nas.errors import NasError, shown, unknown

MAX_BYTES = 16 * 2**20
MAX_YAML_BYTES = 256 * 2**10
MAX_DEPTH = 50
MAX_COLUMNS = 1000
MAX_NUMBER = 1e15
"""No figure of ours is greater, and sums of what is smaller stay finite."""


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, anchors, aliases, tags and merge keys."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise NasError("YAML anchors (&name, *name) are not read. Write the value out.")
        if getattr(event, "tag", None) is not None:
            raise NasError("YAML tags (!name) are not read. Write the plain value.")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NasError(f"it is nested more than {MAX_DEPTH} deep. Write it flatter.")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name, count in Counter(key.value for key in keys).items():
            if count > 1:
                raise NasError(f"key {shown(name)} is written twice. Keep one.")
        if any(key.tag == "tag:yaml.org,2002:merge" for key in keys):
            raise NasError("YAML merge keys (<<) are not read. Write the keys out.")
        return super().construct_mapping(node, deep)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a file of at most `max_bytes`.

    Raises:
        NasError: the file is missing, unreadable, too large or not UTF-8.
    """
    try:
        if not path.is_file() and path.exists():
            raise NasError(f"{path} must be a file, but is a folder or a device. Check the path.")
        if path.stat().st_size > max_bytes:
            raise NasError(
                f"{path} must be at most {max_bytes:,} bytes, but has {path.stat().st_size:,}."
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise NasError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise NasError(f"{path} must be UTF-8 text, but byte {error.start} is not.") from error


def read_columns(path: Path) -> str:
    """Return the text of a CSV file whose header has at most 1,000 columns, none twice.

    Raises:
        NasError: the file is unreadable, or its header is another.
    """
    text = read_text(path)
    try:
        header = next(csv.reader(io.StringIO(text)), [])
    except csv.Error as error:
        raise NasError(f"{path} is not readable CSV: {error}. Correct the file.") from error
    if len(header) > MAX_COLUMNS:
        raise NasError(f"{path} must have at most {MAX_COLUMNS} columns, but has {len(header):,}.")
    for name, count in Counter(header).items():
        if count > 1:
            raise NasError(f"{path} has column {shown(name)} twice. Keep one.")
    return text


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: an interrupted or failed write leaves the old one.

    Raises:
        NasError: the folder is missing or not writable, or the disk is full.
    """
    _write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes, *, is_synced: bool = False) -> None:
    """Write a whole file or nothing, as `write_text` does; `is_synced`: through to the disk.

    Raises:
        NasError: the folder is missing or not writable, or the disk is full.
    """

    def write(draft: Path) -> None:
        draft.write_bytes(content)
        if is_synced:
            with draft.open("ab") as file:
                os.fsync(file.fileno())

    _write_whole(path, write)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        write(draft)
        draft.replace(path)
    except OSError as error:
        raise NasError(
            f"{path} cannot be written: {error.strerror}. Make room or choose another path."
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds: plain values, no key twice.

    Raises:
        NasError: the file is unreadable, or uses anchors, tags or merge keys.
    """
    text = read_text(path, MAX_YAML_BYTES)
    try:
        content = yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        raise NasError(f"{path} is not readable YAML: {reason[:300]}") from error
    return mapping(content, str(path))


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds: finite numbers, no key twice.

    Raises:
        NasError: the file is unreadable, or holds NaN, infinity or a repeated key.
    """
    return mapping(parse_json(read_text(path), str(path)), str(path))


def parse_json(text: str, where: str) -> Any:
    """Return what a text of JSON holds: finite numbers, no key twice, nested 50 deep at most.

    Raises:
        NasError: the text is something else.
    """
    try:
        content = json.loads(
            text,
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=_distinct,
        )
    except (ValueError, RecursionError) as error:
        raise NasError(f"{where} is not readable JSON: {error}. Write it again.") from error
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_DEPTH):
        inner = (one.values() if isinstance(one, dict) else one for one in level if one)
        level = [one for many in inner for one in many if isinstance(one, dict | list)]
        if not level:
            return content
    raise NasError(f"{where} is nested more than {MAX_DEPTH} deep. Write it flatter.")


def _finite(number: str) -> float:
    if not isfinite(float(number)):
        raise NasError(f"numbers must be finite, but one is {number[:80]}")
    return float(number)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise NasError(f"key {shown(name)} is written twice")
    return dict(pairs)


def mapping(content: object, where: str) -> dict[str, Any]:
    """Return `content` when it is a mapping with text keys."""
    if not isinstance(content, dict):
        raise NasError(f"{where} must hold `key: value` lines, but holds {shown(content)}.")
    for key in content:
        if not isinstance(key, str):
            raise NasError(f"{where} must have words as keys, but has {shown(key)}. Quote it.")
    return content


def check_keys(
    content: Mapping[str, Any], where: str, required: Iterable[str], optional: Iterable[str] = ()
) -> None:
    """Refuse a missing or an unknown key, naming the ones that exist."""
    required = list(required)
    known = [*required, *optional]
    for key in content:
        if key not in known:
            raise NasError(f"{where}: {unknown('key', key, known)}")
    missing = [key for key in required if key not in content]
    if missing:
        raise NasError(f"{where} has no key {missing[0]!r}; it needs {', '.join(required)}.")


def integer(value: object, where: str, least: int = 1, most: int = 10**6) -> int:
    """Return `value` when it is an integer in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise NasError(f"{where} must be an integer from {least} to {most}, but is {shown(value)}.")
    return value


def is_number(value: object) -> bool:
    """Tell whether a value is a number from -1e15 to 1e15; NaN, true and false are none."""
    is_numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return is_numeric and -MAX_NUMBER <= value <= MAX_NUMBER  # type: ignore[operator]


def short_text(value: object, where: str) -> str:
    """Return `value` when it is a text of 1 to 200 characters that a terminal shows as they are."""
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
        raise NasError(
            f"{where} must be 1 to 200 printable characters in quotes, but is {shown(value)}."
        )
    return value


def printable(text: str, most: int = 200) -> str:
    """Return the first characters of a text, with `?` for what would command a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
