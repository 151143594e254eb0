"""Images in parquet files, as data sets on the Hugging Face hub are stored."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.columns import encoded_image, find_column, names_in, numbered
from nas.data.image_folder import fingerprint_of
from nas.data.source import Source, part_of
from nas.data.split import Rows
from nas.errors import NasError
from nas.extras import require


@dataclass(frozen=True, kw_only=True, eq=False)
class ParquetPart:
    """The rows of some files, one after the other; `starts` are their first rows, then the end."""

    files: tuple[Path, ...]
    starts: tuple[int, ...]
    image_column: str
    labels: Rows

    def encoded(self, rows: Rows) -> Iterator[bytes | Path]:
        """Yield the files of some images, a row group in memory at a time."""
        for number, path in enumerate(self.files):
            first, end = np.searchsorted(rows, self.starts[number : number + 2])
            if first < end:
                yield from self._of_file(path, rows[first:end] - self.starts[number])

    def _of_file(self, path: Path, rows: Rows) -> Iterator[bytes | Path]:
        with _reading(path):
            file = require("pyarrow.parquet", "data").ParquetFile(path)
        with file:
            start = 0
            for group in range(file.metadata.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                first, last = np.searchsorted(rows, [start, end])
                if first < last:
                    with _reading(path):
                        column = file.read_row_group(group, columns=[self.image_column]).column(0)
                    for row in (rows[first:last]).tolist():
                        with _reading(path):
                            value = column[row - start].as_py()
                        yield encoded_image(value, f"row {row} of {path}", path.parent)
                start = end

    def place(self, row: int) -> str:
        """Return the file of an image and its row there, from 0."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"row {row - self.starts[number]} of {self.files[number]}"


def source_of(
    path: Path, name: str, image_column: str | None = None, label_column: str | None = None
) -> Source:
    """Return the source that a parquet file is, or the files of a folder and of those below it.

    The part of a file is in its name (`train-00000-of-00002.parquet`) or in its folder's; where no
    file names one, all are for training.
    """
    parts = _files(path)
    with _reading(parts["train"][0]):
        schema = require("pyarrow.parquet", "data").read_schema(parts["train"][0])
        names, metadata = schema.names, schema.metadata
    where = str(path)
    image = find_column(names, image_column, "image", where)
    label = find_column(names, label_column, "label", where)
    columns: dict[str, list[Any]] = {}
    starts: dict[str, list[int]] = {}
    for part, files in parts.items():
        columns[part], starts[part] = [], [0]
        for file in files:
            columns[part] += _labels(file, image, label)
            starts[part].append(len(columns[part]))
    classes, labels = numbered(columns, names_in(metadata, label), where)
    made = {
        part: ParquetPart(
            files=tuple(files),
            starts=tuple(starts[part]),
            image_column=image,
            labels=labels[part],
        )
        for part, files in parts.items()
        if not is_hidden(labels[part])
    }
    if "train" not in made:
        raise NasError(
            f"{path} must have labels to train on, but hides them (-1) or has none. Check "
            "data.path and data.label_column."
        )
    every = [file for files in parts.values() for file in files]
    print_of = f"{fingerprint_of(every)} {image} {label}"
    return Source(name=name, classes=classes, fingerprint=print_of, **made)


def is_hidden(labels: Rows) -> bool:
    """Return whether a part has no labels: the hub writes -1 where a test's are kept secret."""
    return bool((labels == -1).all())


def _files(path: Path) -> dict[str, list[Path]]:
    if path.is_file():
        return {"train": [path]}
    parts: dict[str, list[Path]] = {}
    files = sorted(path.rglob("*.parquet"))
    named = {file: _part_name(file.relative_to(path)) for file in files}
    if not any(named.values()):
        return {"train": files}
    for file, part in named.items():
        if part is None:
            raise NasError(
                f"{file} names none of the parts train, validation and test, but files beside it "
                "do. Rename it or take it away."
            )
        parts.setdefault(part, []).append(file)
    if "train" not in parts:
        raise NasError(f"{path} must hold train*.parquet, but holds {files[0]}. Check data.path.")
    return parts


def _part_name(path: Path) -> str | None:
    words = [re.split(r"[-_.]", word)[0] for word in reversed(path.parts)]
    return part_of(words)


def _labels(path: Path, image: str, label: str) -> Sequence[Any]:
    with _reading(path), require("pyarrow.parquet", "data").ParquetFile(path) as file:
        for column in (image, label):
            if column not in file.schema_arrow.names:
                raise NasError(f"{path} has no column {column!r}, as others have. Take it away.")
        found: list[Any] = file.read(columns=[label]).column(0).to_pylist()
        return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    arrow = require("pyarrow", "data")
    try:
        yield
    except NasError:
        raise
    except (OSError, LookupError, ValueError, arrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise NasError(f"{path} cannot be read as parquet: {reason}. Replace it.") from error
