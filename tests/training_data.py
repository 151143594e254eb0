"""A data set and a network on which a training takes a fraction of a second."""

import torch

from nas.arch import Arch, Layer
from nas.data.images import ImageData, Images

N_CLASSES = 4
SMALL = Arch(
    name="small",
    layers=tuple(
        map(
            Layer.parse,
            (
                "conv k3 3>8 s2 re @16",
                "mb k3 8>16>8 s1 re @8",
                "mb k3 8>24>16 s2 se8 hs @8",
                "head 16>4 @4",
            ),
        )
    ),
)


def patterns(
    *, n_train: int = 128, n_validation: int = 80, n_channels: int = 3, size: int = 16
) -> ImageData:
    """Return noisy images of four blurs of colour, one a class, alike in every call."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randint(40, 216, (N_CLASSES, n_channels, 4, 4), generator=generator)
    means = means.repeat_interleave(size // 4, dim=2).repeat_interleave(size // 4, dim=3)

    def images(n_images: int) -> Images:
        labels = torch.randint(N_CLASSES, (n_images,), generator=generator)
        noise = torch.randn((n_images, n_channels, size, size), generator=generator) * 30
        pixels = (means[labels] + noise).clamp(0, 255).to(torch.uint8)
        return Images(pixels=pixels, labels=labels)

    return ImageData(
        name="patterns",
        digest=f"patterns-{n_train}-{n_validation}-{n_channels}-{size}",
        classes=tuple("abcd"),
        train=images(n_train),
        validation=images(n_validation),
    )
