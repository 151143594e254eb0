"""Image and label columns of a table: which they are, and what their rows hold."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.split import Rows
from nas.errors import NasError, shown, unknown
from nas.paths import inside

IMAGES = ("image", "img", "picture", "photo", "jpg", "png", "webp")
LABELS = ("label", "fine_label", "labels", "target", "class", "cls")
MAX_CLASSES = 100_000


def find_column(columns: Sequence[str], chosen: str | None, what: str, where: str) -> str:
    """Return the column of `what`, image or label: the chosen one, or the one named like that.

    Raises:
        NasError: there is none; the message lists the columns.
    """
    if chosen is not None:
        if chosen not in columns:
            raise unknown(f"column data.{what}_column of {where}", chosen, columns)
        return chosen
    for name in IMAGES if what == "image" else LABELS:
        if name in columns:
            return name
    raise NasError(
        f"{where} has no column that is named like its {what}s; it has {', '.join(columns)[:300]}. "
        f"Name it: data.{what}_column=<column>"
    )


def names_in(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face `datasets` writes into the schema of a file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    is_good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_good else None


def numbered(
    columns: Mapping[str, Sequence[Any]], names: tuple[str, ...] | None, where: str
) -> tuple[tuple[str, ...], dict[str, Rows]]:
    """Return the classes and the labels of each part as their indices.

    Args:
        columns: the label of each row, of each part; integers or words.
        names: the classes; None: the words in order, or the integers from 0 to the largest.
        where: what an error calls the table.

    Raises:
        NasError: a label is neither an integer nor a word, or is missing.
    """
    kinds = {type(label) for labels in columns.values() for label in labels}
    if kinds == {str}:
        every = {label for labels in columns.values() for label in labels}
        classes = names or tuple(sorted(every))
        for label in sorted(every):
            if label not in classes:
                raise unknown(f"label in {where}", label, classes)
        index = {name: number for number, name in enumerate(classes)}
        return classes, {
            part: np.array([index[label] for label in labels], dtype=np.int64)
            for part, labels in columns.items()
        }
    if kinds - {int}:
        raise NasError(
            f"the labels of {where} must all be integers or all words, but there are "
            f"{' and '.join(sorted(kind.__name__ for kind in kinds))}. Choose another column: "
            "data.label_column=<column>"
        )
    rows = {part: np.array(labels, dtype=np.int64) for part, labels in columns.items()}
    largest = max((int(labels.max(initial=-1)) for labels in rows.values()), default=-1)
    if names is None and largest >= MAX_CLASSES:
        raise NasError(
            f"the labels of {where} must be below {MAX_CLASSES:,}, but one is {largest:,}. Choose "
            "another column: data.label_column=<column>"
        )
    return names or tuple(map(str, range(largest + 1))), rows


def encoded_image(value: object, where: str, *folders: Path) -> bytes | Path:
    """Return an image's file, or its path in one of the folders: what a row of the column holds.

    Raises:
        NasError: it is something else, or a path that leads out of the folder.
    """
    if isinstance(value, dict):
        content, path = value.get("bytes"), value.get("path")
        if content is None and isinstance(path, str):
            return _found(path, folders)
        value = content
    if isinstance(value, bytes | Path):
        return value
    raise NasError(
        f"{where} must be an image's file (its bytes), but is {shown(value)}. Take the row away, "
        "or choose another column: data.image_column=<column>"
    )


def _found(path: str, folders: Sequence[Path]) -> Path:
    for folder in folders[:-1]:
        with suppress(NasError):
            return inside(folder, path)
    return inside(folders[-1], path)
