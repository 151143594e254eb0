"""The JSON file of a cost model: coefficients by readable name, one timed block a line."""

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NasError, shown
from nas.latency.bounds import ORDERED, Bounds
from nas.latency.terms import TERMS
from nas.text import check_keys, is_number, mapping, printable, read_json, write_text

VERSION = 1
MAX_NUMBER = 2**31 - 1
MAX_BOUNDS = 20_000
KEYS = ("version", "device", "provenance", "hswish_ms", "terms", "bounds")
BOUND_COLUMNS = ("stride", "is_expanded", *ORDERED, "ms")
UPDATE = "Fit it again: python -m nas.latency.fit data=<csv>"


def read_cost_model(path: Path) -> dict[str, Any]:
    """Return the fields of the cost model in a file.

    Raises:
        NasError: a key, term or number that no cost model can hold.
    """
    content = read_json(path)
    check_keys(content, str(path), KEYS)
    if content["version"] != VERSION:
        raise NasError(f"{path} must have version {VERSION}, but has {shown(content['version'])}.")
    terms = mapping(content["terms"], f"terms of {path}")
    for name in terms:
        _check_term(name, path)
    return {
        "device": printable(str(content["device"])),
        "provenance": mapping(content["provenance"], f"provenance of {path}"),
        "hswish_ms": _price(content["hswish_ms"], f"hswish_ms of {path}"),
        "terms": {name: _price(value, f"{name} of {path}") for name, value in terms.items()},
        "bounds": _bounds(content["bounds"], path),
    }


def write_cost_model(
    path: Path,
    *,
    device: str,
    terms: Mapping[str, float],
    hswish_ms: float,
    bounds: Bounds,
    provenance: Mapping[str, Any],
) -> None:
    """Write the file of a cost model."""
    sizes = bounds.sizes.tolist()
    rows = [[*row, repr(ms)] for row, ms in zip(sizes, bounds.ms.tolist(), strict=True)]
    content = {
        "version": VERSION,
        "device": device,
        "provenance": dict(provenance),
        "hswish_ms": hswish_ms,
        "terms": dict(terms),
        "bounds": [",".join(map(str, row)) for row in [BOUND_COLUMNS, *rows]],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def _check_term(name: str, path: Path) -> None:
    if name not in TERMS:
        close = get_close_matches(name[:80], TERMS, n=3, cutoff=0.0)
        raise NasError(
            f"{path} has a term {shown(name)} that is not known; near are "
            f"{', '.join(close)}. {UPDATE}"
        )


def _price(value: object, where: str) -> float:
    number = float(value) if is_number(value) else -1.0  # type: ignore[arg-type]
    if number < 0:
        raise NasError(
            f"{where} must be a finite number of at least 0, but is {shown(value)}. {UPDATE}"
        )
    return number


def _bounds(lines: object, path: Path) -> Bounds:
    header = ",".join(BOUND_COLUMNS)
    if not isinstance(lines, list) or not lines or lines[0] != header:
        raise NasError(f"bounds of {path} must be a list of lines below {header!r}. {UPDATE}")
    if len(lines) > MAX_BOUNDS:
        raise NasError(f"{path} must have at most {MAX_BOUNDS:,} bounds, but has {len(lines):,}.")
    rows = [_numbers(line, f"line {n} of the bounds of {path}") for n, line in enumerate(lines[1:])]
    table = np.array(rows, dtype=np.float64).reshape(-1, len(BOUND_COLUMNS))
    return Bounds(sizes=table[:, :-1].astype(np.int32), ms=table[:, -1].copy())


def _numbers(line: object, where: str) -> list[float]:
    words = str(line).split(",")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    is_bound = len(numbers) == len(BOUND_COLUMNS) and all(map(math.isfinite, numbers))
    if not is_bound or min(numbers) < 0 or max(numbers) > MAX_NUMBER:
        raise NasError(
            f"{where} must hold {len(BOUND_COLUMNS)} numbers of at least 0, but is {shown(line)}. "
            f"{UPDATE}"
        )
    return numbers
