"""Any torch `Dataset` with a length, named by `_target_` in a config: its items become tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.assemble import assemble
from nas.data.columns import numbered
from nas.data.images import ImageData
from nas.data.options import Options, Progress
from nas.data.source import Encoded, Source
from nas.data.split import Rows
from nas.errors import NasError, shown


def load(
    *,
    train: Any = None,
    validation_part: Any = None,
    test: Any = None,
    name: str = "dataset",
    size: int | None = None,
    limit: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ImageData:
    """Read torch data sets whose items are (image, label).

    An image is a tensor of bytes or of floats in 0 to 1, (channels, height, width); an array of
    bytes, (height, width) or (height, width, channels); or Pillow's. Give it without augmentation
    and not normalised: training does both. A data set that has its labels in `targets`, as
    torchvision's have, is not read twice. `classes` are its names for the classes, if it has any.
    It is decoded anew in each run, as nothing tells when it changes.

    Args:
        train: the data set to train on.
        validation_part: what proxies are judged by; None: the share `validation` of `train`.
        test: what no proxy sees.
        name: what the data set is called in results.
        size: see `Options`, as for `limit`, `validation` and `seed`.
        on_progress: called with the images decoded so far and in all.

    Raises:
        NasError: an item is something else.
    """
    options = Options(size=size, limit=limit, validation=validation, seed=seed)
    if train is None:
        raise NasError(
            "data=dataset must be told its class: 'data.train={_target_: my_module.MyDataset}'"
        )
    given = {"train": train, "validation": validation_part, "test": test}
    sets = {part: items for part, items in given.items() if items is not None}
    columns = {part: _labels(items, f"{part} of {name}") for part, items in sets.items()}
    names = getattr(train, "classes", None)
    classes, labels = numbered(columns, tuple(map(str, names)) if names else None, name)
    parts: dict[str, Any] = {
        part: DatasetPart(items=items, labels=labels[part], where=f"{part} of {name}")
        for part, items in sets.items()
    }
    return assemble(Source(name=name, classes=classes, **parts), options, on_progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetPart:
    """The items of a torch data set."""

    items: Any
    labels: Rows
    where: str

    def encoded(self, rows: Rows) -> Iterator[Encoded]:
        """Yield the images of some items."""
        for row in rows.tolist():
            yield _image(self.items[row][0], self.place(row))

    def place(self, row: int) -> str:
        """Return the number of an item, from 0."""
        return f"item {row} of {self.where}"


def _labels(items: Any, where: str) -> list[int | str]:
    if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise NasError(
            f"{where} must be a data set with a length and with items, but is a "
            f"{type(items).__name__}. Correct its _target_."
        )
    targets = getattr(items, "targets", None)
    if targets is not None and len(targets) == len(items):
        return [_label(label) for label in targets]
    labels = []
    for row in range(len(items)):
        item = items[row]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise NasError(f"item {row} of {where} must be (image, label), but is {shown(item)}.")
        labels.append(_label(item[1]))
    return labels


def _label(label: Any) -> int | str:
    found: int | str = label.item() if hasattr(label, "item") else label
    return found


def _image(image: Any, where: str) -> Encoded:
    if isinstance(image, torch.Tensor):
        image = _bytes(image, where)
        image = (image.movedim(0, -1) if image.dim() == 3 else image).numpy()
    if not isinstance(image, np.ndarray):
        if hasattr(image, "convert"):
            pillow: Encoded = image
            return pillow
        raise _wrong(where, f"a {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise _wrong(where, f"{image.dtype} of shape {image.shape}")
    return _channels(image, where)


def _bytes(image: torch.Tensor, where: str) -> torch.Tensor:
    image = image.detach().cpu()
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point() or not bool(((image >= 0) & (image <= 1)).all()):
        raise _wrong(where, f"{image.dtype} from {float(image.min()):g} to {float(image.max()):g}")
    return (image * 255).round().to(torch.uint8)


def _channels(image: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    if image.ndim == 2 or image.shape[-1] == 3:
        return image
    if image.shape[-1] == 1:
        return image[..., 0]
    raise _wrong(where, f"of shape {image.shape}")


def _wrong(where: str, found: str) -> NasError:
    return NasError(
        f"{where} must be an image: a tensor (channels, height, width) with 1 or 3 channels, of "
        f"bytes or of floats from 0 to 1, an array of bytes, or Pillow's; but it is {found}. "
        "Return images before they are normalised."
    )
