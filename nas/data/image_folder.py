"""A folder of images: one folder a class, alone or below train/, validation/ and test/."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.assemble import assemble
from nas.data.images import ImageData
from nas.data.options import Options, Progress
from nas.data.source import PARTS, Source
from nas.data.split import Rows
from nas.errors import NasError, shown

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def load(
    *,
    path: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ImageData:
    """Read a folder of class folders; what lies in class folders in other formats is left out.

    Raises:
        NasError: there is no such folder, a class is empty, or an image is broken.
    """
    options = Options(size=size, limit=limit, validation=validation, seed=seed)
    if path is None:
        raise NasError(
            "data=image_folder must be told its folder: data.path=<folder with a folder a class>"
        )
    return assemble(source_of(Path(path).expanduser()), options, on_progress)


def source_of(folder: Path, name: str | None = None) -> Source:
    """Return the source that a folder is, called `name` or like the folder."""
    if not folder.is_dir():
        raise NasError(f"{folder} must be a folder, but there is none. Check data.path.")
    tops = {PARTS[top.name.lower()]: top for top in _folders(folder) if top.name.lower() in PARTS}
    if "train" not in tops:
        tops = {"train": folder}
    classes = tuple(top.name for top in _folders(tops["train"]))
    if not classes:
        raise NasError(
            f"{tops['train']} must hold a folder for each class, but holds no folder. Check "
            "data.path."
        )
    parts = {name: _part(top, classes) for name, top in tops.items()}
    files = [path for part in parts.values() for path in part.paths]
    name = name or folder.resolve().name
    return Source(name=name, classes=classes, fingerprint=fingerprint_of(files), **parts)


def fingerprint_of(paths: Iterable[str | Path]) -> str:
    """Return a digest that changes when a file is written, moved, added or taken away."""
    digest = hashlib.sha256()
    for path in paths:
        status = os.stat(path)
        facts = [os.path.abspath(path), status.st_size, status.st_mtime_ns]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderPart:
    """Image files with their labels. Paths are text: there may be a million of them."""

    paths: tuple[str, ...]
    labels: Rows

    def encoded(self, rows: Rows) -> Iterator[Path]:
        """Yield the paths of some images."""
        yield from (Path(self.paths[row]) for row in rows)

    def place(self, row: int) -> str:
        """Return the path of an image."""
        return self.paths[row]


def _part(top: Path, classes: tuple[str, ...]) -> FolderPart:
    paths: list[str] = []
    labels: list[int] = []
    for folder in _folders(top):
        if folder.name not in classes:
            raise NasError(
                f"{folder} is a class that the training images do not have. Known: "
                f"{', '.join(classes)[:300]}. Rename it or take it away."
            )
        found = list(_images(folder))
        if not found:
            raise NasError(
                f"class folder {folder} holds no image ({', '.join(sorted(SUFFIXES))}). Add some "
                "or take it away."
            )
        paths += found
        labels += [classes.index(folder.name)] * len(found)
    if not paths:
        raise NasError(f"{shown(str(top))} holds no class folder. Fill it or take it away.")
    return FolderPart(paths=tuple(paths), labels=np.array(labels, dtype=np.int64))


def _images(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield os.path.join(place, name)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
