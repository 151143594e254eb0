"""The handwritten digits that scikit-learn brings along: 1,797 grey images of 8 x 8 pixels."""

import numpy as np

from nas.data.assemble import assemble
from nas.data.images import ImageData
from nas.data.options import Options, Progress
from nas.data.source import ArrayPart, Source
from nas.extras import require

LARGEST = 16
"""The values are from 0 to 16: pixels that were set, of 4 x 4 (UCI, Optical Recognition...)."""


def load(
    *,
    size: int | None = None,
    limit: int | None = None,
    validation: float = 0.2,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ImageData:
    """Read the digits; they need no download and have no test part.

    Raises:
        NasError: scikit-learn is missing, or an option is out of range.
    """
    options = Options(size=size, limit=limit, validation=validation, seed=seed)
    found = require("sklearn.datasets", "data").load_digits()
    pixels = np.rint(found.images * (255 / LARGEST)).astype(np.uint8)
    labels = found.target.astype(np.int64)
    source = Source(
        name="digits",
        classes=tuple(map(str, range(10))),
        train=ArrayPart(pixels=pixels, labels=labels, where="scikit-learn's digits"),
    )
    return assemble(source, options, on_progress)
