"""What an exported file says of itself, in texts that every format can hold."""

import json
from collections.abc import Sequence

from nas.arch import Arch

VERSION = "1"


def metadata(
    arch: Arch,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: str,
    is_trained: bool,
) -> dict[str, str]:
    """Return the texts by their names: lists in JSON, the arch with one line a layer.

    Pixels are divided by 255; `mean` and `std`, a number a channel, are taken off and divided by
    after that.
    """
    return {
        "version": VERSION,
        "name": arch.name,
        "arch": "\n".join(map(str, arch.layers)),
        "resolution": str(arch.resolution),
        "classes": json.dumps(list(classes)),
        "mean": json.dumps(list(mean)),
        "std": json.dumps(list(std)),
        "dtype": dtype,
        "weights": "trained" if is_trained else "random",
    }
