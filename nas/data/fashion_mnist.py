"""Fashion-MNIST (arXiv:1708.07747): 70,000 grey images of 28 x 28 pixels, in MNIST's idx files."""

from pathlib import Path

import numpy as np

from nas.data.assemble import assemble
from nas.data.idx import read_idx
from nas.data.images import ImageData
from nas.data.options import Options, Progress
from nas.data.source import ArrayPart, Source
from nas.errors import NasError

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts the files."""
CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
ENDINGS = ("-ubyte", "-ubyte.gz")


def load(
    *,
    path: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ImageData:
    """Read the four files of a folder (None: where Debian's package puts them).

    Raises:
        NasError: a file is missing, truncated or no idx file, or a label is not from 0 to 9.
    """
    options = Options(size=size, limit=limit, validation=validation, seed=seed)
    folder = FOLDER if path is None else Path(path).expanduser()
    source = Source(
        name="fashion_mnist",
        classes=CLASSES,
        train=_part(folder, "train"),
        test=_part(folder, "t10k"),
    )
    return assemble(source, options, on_progress)


def _part(folder: Path, name: str) -> ArrayPart:
    images, labels = _file(folder, f"{name}-images", 3), _file(folder, f"{name}-labels", 1)
    pixels, numbers = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(numbers):
        raise NasError(
            f"{images} holds {len(pixels):,} images, but {labels} {len(numbers):,} labels. Replace "
            "the files by ones that belong together."
        )
    if pixels.size == 0:
        raise NasError(f"{images} must hold images, but their shape is {pixels.shape}. Replace it.")
    return ArrayPart(pixels=pixels, labels=numbers.astype(np.int64), where=str(images))


def _file(folder: Path, name: str, n_dimensions: int) -> Path:
    for separator in "-.":
        for ending in ENDINGS:
            path = folder / f"{name}{separator}idx{n_dimensions}{ending}"
            if path.is_file():
                return path
    raise NasError(
        f"{folder} must hold {name}-idx{n_dimensions}-ubyte or the same with .gz, but does not. "
        "Install Debian's package (apt-get install dataset-fashion-mnist), or give the folder that "
        "has the four files: data.path=<folder>"
    )
