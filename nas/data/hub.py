"""Data sets by name from the Hugging Face hub, or as files that lie here already."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data import image_folder, parquet
from nas.data.assemble import assemble
from nas.data.columns import encoded_image, find_column, numbered
from nas.data.images import ImageData
from nas.data.options import Options, Progress
from nas.data.source import PARTS, Source
from nas.data.split import Rows
from nas.errors import NasError
from nas.extras import require

LOGGERS = ("datasets", "huggingface_hub")


def load(
    *,
    path: str | None = None,
    name: str | None = None,
    subset: str | None = None,
    revision: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ImageData:
    """Read images of a parquet file, of a folder of them, of class folders, or of the hub.

    Args:
        path: a file or folder, which is read where it lies and with no word to the hub; where there
            is none of that name, a name on the hub (`uoft-cs/cifar10`).
        name: what the data set is called in results; None: the last word of `path`.
        subset: the configuration of a data set on the hub that has several.
        revision: the commit, branch or tag on the hub; None: the newest.
        image_column: the column of a table with images; None: the one named like that.
        label_column: the column with labels, integers or words; None: likewise.
        size: see `Options`, as for `limit`, `validation` and `seed`.
        on_progress: called with the images decoded so far and in all.

    Raises:
        NasError: there is no such path or name, or the images cannot be read.
    """
    options = Options(size=size, limit=limit, validation=validation, seed=seed)
    if path is None:
        raise NasError(
            "data=hub must be told what to read: data.path=<owner>/<name> on the Hugging Face hub, "
            "a parquet file, or a folder"
        )
    name = name or Path(path).stem
    place = Path(path).expanduser()
    if place.is_file() or place.is_dir():
        if place.is_dir() and next(place.rglob("*.parquet"), None) is None:
            source = image_folder.source_of(place, name)
        else:
            source = parquet.source_of(place, name, image_column, label_column)
    elif place.is_absolute() or place.suffix or path.startswith(("~", ".")) or path.count("/") > 1:
        raise NasError(f"{place} must be a file or a folder, but there is none. Check data.path.")
    else:
        tables = _tables(path, subset, revision)
        source = _source(tables, path, name, image_column, label_column)
    return assemble(source, options, on_progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class HubPart:
    """The rows of a table in Arrow's format, mapped into memory."""

    images: Any
    labels: Rows
    where: str

    def encoded(self, rows: Rows) -> Iterator[bytes | Path]:
        """Yield the files of some images."""
        for row in rows.tolist():
            yield encoded_image(self.images[row].as_py(), self.place(row), *_caches())

    def place(self, row: int) -> str:
        """Return the row of an image, from 0."""
        return f"row {row} of {self.where}"


def _tables(path: str, subset: str | None, revision: str | None) -> dict[str, Any]:
    """Return the tables of `datasets` for the parts, from its own cache where they are there."""
    datasets = require("datasets", "data")
    with _quiet(datasets):
        try:
            found = datasets.load_dataset(path, name=subset, revision=revision)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split())[:300]
            raise NasError(
                f"{path} is neither a file or folder here nor a data set that the Hugging Face hub "
                f"gives: {reason}. Check the name and the network, or give a folder with its "
                "parquet files: data.path=<folder>"
            ) from error
    return {PARTS[name.lower()]: table for name, table in found.items() if name.lower() in PARTS}


def _source(
    tables: dict[str, Any],
    path: str,
    name: str,
    image_column: str | None,
    label_column: str | None,
) -> Source:
    if "train" not in tables:
        raise NasError(f"{path} on the hub has no part to train on. Choose another: data.path=")
    features = tables["train"].features
    image = find_column(list(features), image_column, "image", path)
    label = find_column(list(features), label_column, "label", path)
    columns = {part: table.data.column(label).to_pylist() for part, table in tables.items()}
    names = getattr(features[label], "names", None)
    classes, labels = numbered(columns, tuple(names) if names else None, path)
    parts = {
        part: HubPart(
            images=table.data.column(image), labels=labels[part], where=f"{part} of {path}"
        )
        for part, table in tables.items()
        if not parquet.is_hidden(labels[part])
    }
    files = [file["filename"] for table in tables.values() for file in table.cache_files]
    print_of = f"{image_folder.fingerprint_of(files)} {image} {label}" if files else None
    return Source(name=name, classes=classes, fingerprint=print_of, **parts)


def _caches() -> tuple[Path, Path]:
    """Return where `datasets` unpacks and downloads images: its tables name files there."""
    unpacked = require("datasets.config", "data").HF_DATASETS_CACHE
    return Path(unpacked), Path(require("huggingface_hub.constants", "data").HF_HUB_CACHE)


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Keep `datasets` from drawing progress bars and from logging its tries."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    had_bars = not datasets.are_progress_bars_disabled()
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    datasets.disable_progress_bars()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if had_bars:
            datasets.enable_progress_bars()
