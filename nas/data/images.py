"""The images of a data set as tensors, in the three parts that a training may or may not see."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.errors import NasError


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images of one size with their labels.

    `pixels` are bytes (N, channels, height, width); `labels` are indices of classes (N,), int64.

    Raises:
        NasError: tensors of other types or shapes.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        pixels, labels = self.pixels, self.labels
        if pixels.dtype != torch.uint8 or pixels.dim() != 4:
            raise NasError(
                "pixels must be bytes (torch.uint8) of shape (N, channels, height, width), but are "
                f"{pixels.dtype} of shape {tuple(pixels.shape)}."
            )
        if labels.dtype != torch.int64 or labels.shape != pixels.shape[:1]:
            raise NasError(
                f"labels must be torch.int64 of shape ({len(pixels)},), one an image, but are "
                f"{labels.dtype} of shape {tuple(labels.shape)}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> "Images":
        """Return some of the images."""
        return Images(pixels=self.pixels[rows], labels=self.labels[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A data set: what is trained on, what a proxy is judged by, and what neither ever sees.

    `digest` names the content and the split: results of equal digests may be compared. `test` is
    None where the source has no part of its own for it. The images of `train` and `validation`
    come in a random order, so that the first n of them are a fair sample.
    """

    name: str
    digest: str
    classes: tuple[str, ...]
    train: Images
    validation: Images
    test: Images | None = None

    @property
    def size(self) -> int:
        """Return height and width in pixels."""
        return int(self.train.pixels.shape[-1])

    @property
    def n_channels(self) -> int:
        """Return 1 for grey, 3 for colour."""
        return int(self.train.pixels.shape[1])

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each channel of the training part, in 0 to 1."""
        pixels = self.train.pixels[:: max(1, len(self.train) // 5000)].to(torch.float32) / 255
        return pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3)).clamp_min(1e-3)
