"""How a network is trained in full; the recipes of the papers are in conf/recipe."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nas.errors import NasError, shown, unknown
from nas.text import check_keys
from nas.training.recipe import check_numbers

CHOICES = {
    "optimizer": ("sgd", "adam", "adamw", "rmsprop"),
    "schedule": ("constant", "cosine", "step"),
    "crop": ("none", "shift", "resized"),
}
OPTIONAL = ("n_images", "resolution", "ema", "clip_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRecipe:
    """A training in full.

    epochs: passes over the training images. n_images: of them at most so many (null: all).
    resolution: pixels that images are resized to (null: the images' own size). batch_size: images
        of a step, on all devices together.
    optimizer: sgd (Nesterov), adam, adamw or rmsprop. learning_rate: the highest, for `batch_size`
        images. momentum: of adam and adamw the first beta. weight_decay: decoupled in adamw, an L2
        term elsewhere; batch-norm and biases have none.
    schedule: constant, cosine (to 0), or step: times `decay_rate` every `decay_epochs`.
    warmup_epochs: the rate rises along a line for so long.
    norm_momentum: of batch-norm's running statistics, in torch's convention. ema: decay of the
        averaged weights, which are judged and kept (null: none). clip_norm: the greatest norm of
        the gradient (null: none). label_smoothing, dropout: as usual.
    crop: none, shift (by up to an eighth of the size) or resized (a part of `min_scale` to 1 of the
        area, enlarged). flip: mirror every second image. randaugment: operations an image, of
        `randaugment_magnitude` 0 to 30. mixup, cutmix: the Beta distribution's parameter (0: off;
        both: one by chance each time). erasing: share of images in which a rectangle is erased.
    """

    epochs: int = 30
    n_images: int | None = None
    resolution: int | None = None
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    decay_rate: float = 0.99
    decay_epochs: float = 3.0
    norm_momentum: float = 0.1
    ema: float | None = None
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    dropout: float = 0.0
    crop: str = "shift"
    min_scale: float = 0.35
    flip: bool = True
    randaugment: int = 0
    randaugment_magnitude: float = 9.0
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown(f"recipe.{name}", getattr(self, name), choices)
        if not isinstance(self.flip, bool):
            raise NasError(f"recipe.flip must be true or false, but is {shown(self.flip)}.")
        check_numbers(self, _BOUNDS, OPTIONAL)
        if self.warmup_epochs > self.epochs:
            raise NasError(
                f"recipe.warmup_epochs must be at most recipe.epochs ({self.epochs}), but is "
                f"{self.warmup_epochs:g}."
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "FullRecipe":
        """Return the recipe of a node of a config; what it leaves out is as it stands above.

        Raises:
            NasError: a key that no recipe has, or a value out of range.
        """
        check_keys(options, "recipe", [], [field.name for field in fields(cls)])
        return cls(**options)

    def values(self) -> dict[str, Any]:
        """Return all fields by their names."""
        return asdict(self)


_NUMBER = int | float
_BOUNDS = (
    ("epochs", int, 1, 10_000),
    ("n_images", int, 1, 10**9),
    ("resolution", int, 8, 1024),
    ("batch_size", int, 2, 65536),
    ("learning_rate", _NUMBER, 1e-8, 100),
    ("momentum", _NUMBER, 0, 0.9999),
    ("weight_decay", _NUMBER, 0, 10),
    ("warmup_epochs", _NUMBER, 0, 10_000),
    ("decay_rate", _NUMBER, 0.01, 1),
    ("decay_epochs", _NUMBER, 0.01, 10_000),
    ("norm_momentum", _NUMBER, 0.0001, 1),
    ("ema", _NUMBER, 0, 0.999999),
    ("clip_norm", _NUMBER, 1e-6, 10**6),
    ("label_smoothing", _NUMBER, 0, 0.99),
    ("dropout", _NUMBER, 0, 0.99),
    ("min_scale", _NUMBER, 0.01, 1),
    ("randaugment", int, 0, 10),
    ("randaugment_magnitude", _NUMBER, 0, 30),
    ("mixup", _NUMBER, 0, 10),
    ("cutmix", _NUMBER, 0, 10),
    ("erasing", _NUMBER, 0, 1),
)
