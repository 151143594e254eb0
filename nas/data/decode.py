"""Decode images into one tensor of bytes: in threads, and every broken image by its name."""

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.source import Encoded, Part
from nas.data.split import Rows
from nas.errors import NasError
from nas.extras import require

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[np.uint8]
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what is read: of the others some start programs, as EPS does."""
MAX_PIXELS = 2**26
MAX_BYTES = 2**28
CHUNK = 256
"""Images that are held encoded at once."""
GREY = ("1", "L", "LA", "La")
"""Pillow's modes without colour; those that start with I or F have more than 8 bits a pixel."""


class ColourFound(Exception):
    """Say that an image is in colour where all were taken for grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all images become: `n_channels` x `size` x `size`; `is_fitted` if they are resized."""

    n_channels: int
    size: int
    is_fitted: bool


def frame_of(part: Part, row: int, size: int | None) -> Frame:
    """Return the frame for images like the one in `row`, at `size` pixels or at their own size.

    Raises:
        NasError: the image is broken, or is not square and `size` is None.
    """
    with _naming(part, row):
        image = next(part.encoded(np.array([row])))
        array = image if isinstance(image, np.ndarray) else _array(_opened(image))
    height, width = array.shape[:2]
    if size is None and height != width:
        raise NasError(
            f"{part.place(row)} is {width} x {height} pixels, but images must be square. Give "
            "data.size=<pixels>: the short side is resized to it, and the centre is kept."
        )
    n_channels = 3 if array.ndim == 3 else 1
    return Frame(n_channels=n_channels, size=size or height, is_fitted=size is not None)


def decode(part: Part, rows: Rows, frame: Frame, on_images: Callable[[int], None]) -> Tensor:
    """Return the images of `rows`, in their order, as bytes (N, channels, size, size).

    `on_images` is called with the number of images that were decoded since it was called last.

    Raises:
        NasError: an image is broken, or of another size than the frame's; it is named.
        ColourFound: an image is in colour, but the frame is grey.
    """
    out = torch.empty((len(rows), frame.n_channels, frame.size, frame.size), dtype=torch.uint8)
    arrays = out.numpy()
    order = np.argsort(rows, kind="stable")  # Files are read from their start to their end.
    images = zip(order.tolist(), part.encoded(rows[order]), strict=True)
    n_threads = min(os.cpu_count() or 1, 8)

    def fill(chunk: list[tuple[int, Encoded]]) -> None:
        for position, image in chunk:
            with _naming(part, int(rows[position])):
                arrays[position] = _fitted(image, frame)

    # Pillow lets go of the interpreter while it decodes, so that threads help with large images.
    with ThreadPoolExecutor(n_threads) as pool:
        while chunk := list(islice(images, CHUNK)):
            list(pool.map(fill, [chunk[first::n_threads] for first in range(n_threads)]))
            on_images(len(chunk))
    return out


@contextmanager
def _naming(part: Part, row: int) -> Iterator[None]:
    try:
        yield
    except (ColourFound, MemoryError, NasError):
        raise
    except _OtherSize as error:
        raise NasError(
            f"{part.place(row)} {error}. Give data.size=<pixels>: the short side is resized to it, "
            "and the centre is kept."
        ) from error
    except Exception as error:  # A broken file may make a decoder raise nearly anything.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise NasError(
            f"{part.place(row)} is not an image that can be read: {reason}. Replace it or take it "
            "away."
        ) from error


class _OtherSize(ValueError):
    pass


def _fitted(image: Encoded, frame: Frame) -> Array:
    """Return an image as (channels, size, size), or as (1, size, size) where it is grey."""
    size = (frame.size, frame.size)
    if not isinstance(image, np.ndarray) or (frame.is_fitted and image.shape[:2] != size):
        opened = _opened(image)
        image = _array(_resized(opened, frame.size) if frame.is_fitted else opened)
    height, width = image.shape[:2]
    if (height, width) != size:
        raise _OtherSize(
            f"is {width} x {height} pixels, but images before it {frame.size} x {frame.size}"
        )
    if image.ndim == 2:
        return image[None]
    if frame.n_channels == 1:
        raise ColourFound
    return image.transpose(2, 0, 1)


def _opened(image: Encoded) -> "Image":
    if isinstance(image, np.ndarray):
        opened: Image = require("PIL.Image", "data").fromarray(image)
        return opened
    if isinstance(image, Path):
        image = _content(image)
    if isinstance(image, bytes):
        opened = require("PIL.Image", "data").open(io.BytesIO(image), formats=FORMATS)
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"it has {width} x {height} pixels, and may have {MAX_PIXELS:,}")
        return opened
    return image


def _content(path: Path) -> bytes:
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("it is no file")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_BYTES:
        raise ValueError(f"it has {n_bytes:,} bytes, and may have {MAX_BYTES:,}")
    return path.read_bytes()


def _array(image: "Image") -> Array:
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"it has more than 8 bits a pixel (mode {image.mode})")
    return np.asarray(_plain(image))


def _plain(image: "Image") -> "Image":
    mode = "L" if image.mode in GREY else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _resized(image: "Image", size: int) -> "Image":
    image.draft(None, (2 * size, 2 * size))  # JPEG alone: decoded at a half, a quarter, an eighth.
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
    bilinear = require("PIL.Image", "data").Resampling.BILINEAR
    return _plain(image).resize((size, size), bilinear, box=box, reducing_gap=2.0)
