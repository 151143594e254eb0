"""How a network is trained: everything that its accuracy depends on beside data and seed."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from nas.arch import Arch
from nas.errors import NasError, shown, unknown
from nas.text import is_number

OPTIMIZERS = ("sgd", "adamw")
FORMAT = 1
"""Raised when the same recipe comes to train differently: results before that count no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A short training.

    epochs: passes over the training images. n_images: of them at most so many (null: all).
    seconds: stop after so much training time (null: no limit; then the result depends on the
        machine). resolution: pixels that images are resized to (null: the images' own size).
    width: multiplier on the channels. learning_rate: the highest of a one-cycle schedule, for
        `batch_size` images. weight_decay, label_smoothing, dropout: as usual.
    augment: random shifts and mirror images, on whole batches. flip: whether mirroring is allowed.
    """

    epochs: int = 4
    n_images: int | None = None
    seconds: float | None = None
    resolution: int | None = None
    width: float = 1.0
    batch_size: int = 64
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    dropout: float = 0.0
    augment: bool = True
    flip: bool = True

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("augment", "flip"):
            if not isinstance(getattr(self, name), bool):
                raise NasError(
                    f"recipe.{name} must be true or false, but is {shown(getattr(self, name))}."
                )
        check_numbers(self, _BOUNDS, ("n_images", "seconds", "resolution"))

    def network(self, arch: Arch, n_classes: int, size: int) -> Arch:
        """Return the arch that is trained in place of `arch`, for images of `size` pixels."""
        scaled = arch.scaled(self.width, self.resolution or size)
        return scaled.with_num_classes(n_classes)

    def digest(self) -> str:
        """Return 16 hexadecimal digits that equal recipes share."""
        text = json.dumps([FORMAT, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


Bound = tuple[str, Any, float, float]
"""A field, its type, and the least and the greatest value."""


def check_numbers(record: object, bounds: Iterable[Bound], optional: Collection[str]) -> None:
    """Refuse a field of a recipe that is out of bounds; those that are `optional` may be null.

    Raises:
        NasError: it names the field, the bounds and the value.
    """
    for name, kind, least, most in bounds:
        value = getattr(record, name)
        if value is None and name in optional:
            continue
        if not (isinstance(value, kind) and is_number(value) and least <= value <= most):
            raise NasError(
                f"recipe.{name} must be {'an integer ' if kind is int else ''}from {least:g} to "
                f"{most:g}, but is {shown(value)}."
            )


_NUMBER = int | float
_BOUNDS = (
    ("epochs", int, 1, 10_000),
    ("n_images", int, 1, 10**9),
    ("seconds", _NUMBER, 0.1, 10**7),
    ("resolution", int, 8, 1024),
    ("width", _NUMBER, 0.1, 4),
    ("batch_size", int, 2, 65536),
    ("learning_rate", _NUMBER, 1e-8, 100),
    ("momentum", _NUMBER, 0, 0.9999),
    ("weight_decay", _NUMBER, 0, 10),
    ("label_smoothing", _NUMBER, 0, 0.99),
    ("dropout", _NUMBER, 0, 0.99),
)
