"""What every source of images is asked for: how large, how many, and how they are split."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.errors import NasError, shown
from nas.text import integer

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far and in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a source is read; the same in every file of conf/data.

    size: height and width in pixels: the short side is resized to it and the centre is kept (null:
        the images' own, where all have the same and are square). limit: at most so many images of
        each part, the classes in proportion (null: all). validation: the share of the training
        part that is held out, where the source has no part of its own for it. seed: what limit and
        validation choose by.
    """

    size: int | None = None
    limit: int | None = None
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None:
            integer(self.size, "data.size", least=4, most=2048)
        if self.limit is not None:
            integer(self.limit, "data.limit", least=4, most=10**9)
        integer(self.seed, "data.seed", least=0, most=2**31 - 1)
        share = self.validation
        if not isinstance(share, float) or not 0.001 <= share <= 0.9:
            raise NasError(
                "data.validation must be the share of the images that is held out, from 0.001 to "
                f"0.9, but is {shown(share)}."
            )
