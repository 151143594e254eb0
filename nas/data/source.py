"""What a source of images offers before any of them is decoded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from nas.data.split import Rows

if TYPE_CHECKING:
    from PIL.Image import Image

Encoded: TypeAlias = Union[bytes, Path, NDArray[np.uint8], "Image"]
"""A file's content, its path, bytes (height, width) or (height, width, 3), or Pillow's image."""
PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""How folders, files and splits are called, and the part that they then are."""


class Part(Protocol):
    """Images with their labels, still encoded."""

    @property
    def labels(self) -> Rows:
        """Return the class of each image (N,), from 0."""
        ...

    def encoded(self, rows: Rows) -> Iterator[Encoded]:
        """Yield the images of some rows, which ascend."""
        ...

    def place(self, row: int) -> str:
        """Return what an error calls an image: its file, or its row."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A data set as it is found.

    `fingerprint` changes with the files that it is read from, so that what was decoded may be kept;
    None where that is not known or not worth it.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    validation: Part | None = None
    test: Part | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayPart:
    """Images that are in memory already: bytes (N, height, width) or (N, height, width, 3)."""

    pixels: NDArray[np.uint8]
    labels: Rows
    where: str

    def encoded(self, rows: Rows) -> Iterator[NDArray[np.uint8]]:
        """Yield the images of some rows."""
        yield from (self.pixels[row] for row in rows)

    def place(self, row: int) -> str:
        """Return the number of an image, from 0."""
        return f"image {row} of {self.where}"


def part_of(words: Iterable[str]) -> str | None:
    """Return the part that the first of `words` that names one says: train, validation or test."""
    found = (PARTS[word.lower()] for word in words if word.lower() in PARTS)
    return next(found, None)
