"""Images: idx files, image files of every format, parquet files."""

import gzip
import io
import json
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from readers import Reader

from nas.data import fashion_mnist, hub, image_folder
from nas.extras import require

FORMATS = {
    "bmp": "RGB",
    "gif": "P",
    "jpg": "RGB",
    "png": "RGBA",
    "ppm": "RGB",
    "tiff": "L",
    "webp": "RGB",
}
PIXELS = np.arange(12 * 12, dtype=np.uint8).reshape(12, 12)


def encoded(suffix: str) -> bytes:
    """Return a small image of a format."""
    from PIL import Image

    content = io.BytesIO()
    kind = {"jpg": "JPEG"}.get(suffix, suffix.upper())
    Image.fromarray(PIXELS).convert(FORMATS[suffix]).save(content, kind)
    return content.getvalue()


def images() -> Sequence[bytes]:
    """Return an image of each format."""
    return [encoded(suffix) for suffix in FORMATS]


def idx(array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Return an idx file."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


IDX_IMAGES = idx(np.stack([PIXELS] * 40))
IDX_LABELS = idx(np.arange(40, dtype=np.uint8) % 10)


def idx_images() -> Sequence[bytes]:
    """Return a file of images."""
    return [IDX_IMAGES]


def idx_labels() -> Sequence[bytes]:
    """Return a file of labels."""
    return [IDX_LABELS]


def packed() -> Sequence[bytes]:
    """Return a gzipped file of images."""
    return [gzip.compress(IDX_IMAGES, mtime=0)]


def parquets() -> Sequence[bytes]:
    """Return tables of images, as the hub stores them and plainer."""
    pa, parquet = require("pyarrow", "data"), require("pyarrow.parquet", "data")

    image = [{"bytes": encoded("png"), "path": None}] * 8
    plain = pa.table({"image": [one["bytes"] for one in image], "label": ["a", "b"] * 4})
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": image, "label": [0, 1] * 4}).replace_schema_metadata(about)
    found = []
    for one in (table, plain):
        content = io.BytesIO()
        parquet.write_table(one, content)
        found.append(content.getvalue())
    return found


def read_idx(path: Path) -> None:
    """Read a data set of four idx files, of which this is one."""
    others = {
        "train-images-idx3-ubyte": IDX_IMAGES,
        "train-labels-idx1-ubyte": IDX_LABELS,
        "t10k-images-idx3-ubyte": IDX_IMAGES,
        "t10k-labels-idx1-ubyte": IDX_LABELS,
    }
    for name, content in others.items():
        if path.name.removesuffix(".gz") != name:
            (path.parent / name).write_bytes(content)
    fashion_mnist.load(path=str(path.parent))


def read_image(path: Path) -> None:
    """Read a folder of images, of which this is one."""
    top = path.parents[1]
    for place in ("a/1.png", "b/0.png", "b/1.png", "a/2.png"):
        if not (top / place).exists():
            (top / place).parent.mkdir(exist_ok=True)
            (top / place).write_bytes(encoded("png"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        image_folder.load(path=str(top), size=8)


def read_parquet(path: Path) -> None:
    """Read a table of images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hub.load(path=str(path), size=8)


DATA_READERS = (
    Reader(
        name="idx images",
        file="train-images-idx3-ubyte",
        form="bytes",
        examples=idx_images,
        read=read_idx,
    ),
    Reader(
        name="idx labels",
        file="train-labels-idx1-ubyte",
        form="bytes",
        examples=idx_labels,
        read=read_idx,
    ),
    Reader(
        name="gzipped idx",
        file="train-images-idx3-ubyte.gz",
        form="bytes",
        examples=packed,
        read=read_idx,
        weight=0.5,
    ),
    Reader(name="image", file="a/0.png", form="bytes", examples=images, read=read_image),
    Reader(name="parquet", file="data.parquet", form="bytes", examples=parquets, read=read_parquet),
)
