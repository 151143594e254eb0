"""Read the idx files of MNIST and of the data sets made in its likeness, gzipped or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError

BYTES = 0x08
"""The type of the values, in the third byte of the magic number; the fourth is their dimensions."""
MAX_BYTES = 2**28
"""Five times the images of Fashion-MNIST; a gzipped file may claim a thousand times its size."""


def read_idx(path: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """Return the array of bytes that an idx file holds.

    Raises:
        NasError: the file cannot be read, has another magic number, or is too short or too long.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * n_dimensions)
            shape = _shape(header, n_dimensions, path)
            n_bytes = int(np.prod(shape, dtype=object))
            if n_bytes > MAX_BYTES:
                raise NasError(
                    f"{path} says that it holds {n_bytes:,} bytes, but idx files of at most "
                    f"{MAX_BYTES:,} are read. Replace the file."
                )
            content = file.read(n_bytes + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise NasError(f"{path} cannot be read: {error}. Replace the file.") from error
    if len(content) != n_bytes:
        found = f"has {len(content):,}" if len(content) < n_bytes else "has more"
        raise NasError(
            f"{path} must hold {n_bytes:,} bytes after its header, but {found}. Replace the file."
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _shape(header: bytes, n_dimensions: int, path: Path) -> tuple[int, ...]:
    wanted = BYTES << 8 | n_dimensions
    if len(header) < 4 + 4 * n_dimensions:
        raise NasError(f"{path} is too short to be an idx file: {len(header)} bytes. Replace it.")
    magic, *shape = struct.unpack(f">{1 + n_dimensions}I", header)
    if magic != wanted:
        raise NasError(
            f"{path} must start with the magic number {wanted:#010x} of an idx file with "
            f"{n_dimensions} dimensions, but starts with {magic:#010x}. Replace the file."
        )
    return tuple(shape)
