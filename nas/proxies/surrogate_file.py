"""The surrogate's file: JSON, a row of numbers a line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NasError, shown
from nas.proxies.features import FEATURE_NAMES, Array
from nas.proxies.gaussian_process import GaussianProcess, Kernel
from nas.text import check_keys, mapping, read_json, write_text

VERSION = 1

_COLUMNS = ("center", "scale", "lower", "upper", "slope", "inverse_length")
_NUMBERS = ("doubt_factor", "amplitude")
_ARRAYS = ("weights", "landmarks", "shrink")
_KEYS = ("version", "provenance", *_NUMBERS, "columns", "features", *_ARRAYS)
_REFIT = "Fit it again: python -m nas.proxies.fit data=<csv> published=<csv> out=<json>"
_DIGITS = 8
_MOST, _LEAST_SCALE = 1e9, 1e-9
"""Beyond these, the process's sums and quotients are no numbers any more."""
_MOST_LANDMARKS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds: numbers a feature by column name, a process, and where they come from."""

    columns: Mapping[str, Array]
    process: GaussianProcess
    doubt_factor: float
    provenance: Mapping[str, Any]


def write_surrogate(path: Path, content: Content) -> None:
    """Write a fitted surrogate."""
    process, kernel = content.process, content.process.kernel
    columns = {**content.columns, "slope": kernel.slopes, "inverse_length": kernel.inverse_lengths}
    table = np.column_stack([columns[name] for name in _COLUMNS])
    triangle = [row[: length + 1] for length, row in enumerate(process.shrink)]
    text = json.dumps(
        {
            "version": VERSION,
            "provenance": dict(content.provenance),
            "doubt_factor": content.doubt_factor,
            "amplitude": kernel.amplitude,
            "columns": _COLUMNS,
            "features": dict(zip(FEATURE_NAMES, map(_rounded, table), strict=True)),
            # The weights are large and cancel each other: they keep all their digits.
            "weights": process.weights.tolist(),
            "landmarks": [_rounded(row) for row in process.landmarks],
            "shrink": [_rounded(row) for row in triangle],
        }
    )
    write_text(path, text.replace("], ", "],\n") + "\n")


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def read_surrogate(path: Path) -> Content:
    """Read a fitted surrogate.

    Raises:
        NasError: the file is missing, truncated, of another version, or holds no numbers.
    """
    content = read_json(path)
    if content.get("version") != VERSION:
        found = content.get("version")
        raise NasError(f"{path} must have version {VERSION}, but has {shown(found)}. {_REFIT}")
    check_keys(content, str(path), _KEYS)
    features = mapping(content["features"], f"features of {path}")
    if tuple(features) != FEATURE_NAMES or content["columns"] != list(_COLUMNS):
        raise NasError(f"{path} must hold the features of this version, in order. {_REFIT}")
    table = _array(list(features.values()), (len(FEATURE_NAMES), len(_COLUMNS)), path, "features")
    columns = dict(zip(_COLUMNS, table.T, strict=True))
    numbers = {name: float(_array(content[name], (), path, name)) for name in _NUMBERS}
    is_ordered = np.all(columns["lower"] <= columns["upper"])
    if min(*numbers.values(), *columns["scale"]) < _LEAST_SCALE or not is_ordered:
        raise NasError(f"{path} must hold scales above 0 and ranges from low to high. {_REFIT}")
    kernel = Kernel(
        slopes=columns["slope"],
        inverse_lengths=columns["inverse_length"],
        amplitude=numbers["amplitude"],
    )
    return Content(
        columns=columns,
        process=_process(kernel, content, path),
        doubt_factor=numbers["doubt_factor"],
        provenance=mapping(content["provenance"], f"provenance of {path}"),
    )


def _process(kernel: Kernel, content: Mapping[str, Any], path: Path) -> GaussianProcess:
    weights, landmarks, shrink = (_list(content[name], path, name) for name in _ARRAYS)
    n_landmarks, n_doubt = len(weights), len(shrink)
    if not n_doubt <= n_landmarks <= _MOST_LANDMARKS:
        raise NasError(
            f"{path} must have at most {_MOST_LANDMARKS:,} landmarks and no more rows of shrink, "
            f"but has {n_landmarks:,} and {n_doubt:,}. {_REFIT}"
        )
    square = [[*row, *[0.0] * (n_doubt - len(row))] for row in shrink]
    try:
        return GaussianProcess.restore(
            kernel,
            _array(landmarks, (n_landmarks, len(FEATURE_NAMES)), path, "landmarks"),
            _array(weights, (n_landmarks,), path, "weights"),
            _array(square, (n_doubt, n_doubt), path, "shrink"),
        )
    except np.linalg.LinAlgError as error:
        raise NasError(f"the landmarks of {path} fit no process: {error}. {_REFIT}") from error


def _list(values: object, path: Path, name: str) -> list[Any]:
    if not isinstance(values, list) or (name != "weights" and not all(map(_is_list, values))):
        raise NasError(f"{name} of {path} must be rows of numbers. {_REFIT}")
    return values


def _is_list(values: object) -> bool:
    return isinstance(values, list)


def _array(values: object, shape: tuple[int, ...], path: Path, name: str) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise NasError(f"{name} of {path} must be rows of numbers: {error}. {_REFIT}") from error
    if array.shape != shape or array.size == 0 or not (np.abs(array) <= _MOST).all():
        raise NasError(
            f"{name} of {path} must be numbers up to {_MOST:g} of shape {shape}, "
            f"but have shape {array.shape}. {_REFIT}"
        )
    return array
