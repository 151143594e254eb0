"""Augmentation: each image becomes one of its shifts and mirrors, each as often as another."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from nas.data.augment import resize, shift_and_mirror
from nas.errors import NasError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def variants(image: torch.Tensor, padding: int) -> list[tuple[int, int, bool, torch.Tensor]]:
    """Return all that an image (channels, height, width) may become, made one by one."""
    height, width = image.shape[1:]
    edges = (padding,) * 4
    padded = functional.pad(image[None].to(torch.float32), edges, mode="reflect")[0].to(image.dtype)
    found = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + height, left : left + width]
            found += [(top, left, False, crop), (top, left, True, crop.flip(2))]
    return found


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_become_each_of_their_variants_alike_often(
    n_channels: int, dtype: torch.dtype
) -> None:
    image = torch.randint(0, 256, (n_channels, 7, 6), generator=generator()).to(dtype)
    n_images, padding = 2000, 1
    batch = image.expand(n_images, -1, -1, -1)
    changed = shift_and_mirror(batch, generator(1), padding=padding)
    assert (changed.shape, changed.dtype) == (batch.shape, dtype)
    expected = variants(image, padding)
    counts = Counter(
        next(number for number, (*_, truth) in enumerate(expected) if torch.equal(truth, one))
        for one in changed
    )
    assert len(counts) == len(expected) == 18
    mean = n_images / 18
    assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())


def test_images_of_a_batch_change_by_themselves() -> None:
    batch = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=generator())
    changed = shift_and_mirror(batch, generator(1), padding=2)
    found = [
        next(kind for *kind, truth in variants(image, 2) if torch.equal(truth, one))
        for image, one in zip(batch, changed, strict=True)
    ]
    assert len({tuple(kind) for kind in found}) > 20


def test_without_flip_and_padding_nothing_changes() -> None:
    batch = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=generator())
    assert torch.equal(shift_and_mirror(batch, generator(), padding=0, flip=False), batch)
    mirrored = shift_and_mirror(batch, generator(), padding=0)
    is_mirrored = (mirrored == batch.flip(3)).flatten(1).all(dim=1)
    assert 0 < int(is_mirrored.sum()) < 20
    assert torch.equal(mirrored[~is_mirrored], batch[~is_mirrored])


def test_a_seed_gives_the_same_images_and_takes_any_layout() -> None:
    batch = torch.rand(10, 3, 8, 8, generator=generator())
    first = shift_and_mirror(batch, generator(3))
    assert torch.equal(first, shift_and_mirror(batch, generator(3)))
    assert not torch.equal(first, shift_and_mirror(batch, generator(4)))
    strided = batch.to(memory_format=torch.channels_last)
    assert torch.equal(first, shift_and_mirror(strided, generator(3)))


@pytest.mark.parametrize("padding", [-1, 8])
def test_padding_is_bounded(padding: int) -> None:
    with pytest.raises(NasError, match=r"padding must be from 0 to 7 for images of 9 x 8 pixels"):
        shift_and_mirror(torch.zeros(2, 1, 8, 9), generator(), padding=padding)


@pytest.mark.parametrize("size", [9, 16, 24, 48])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_resize_is_pillows(size: int, n_channels: int) -> None:
    batch = torch.randint(0, 256, (3, n_channels, 24, 24), dtype=torch.uint8, generator=generator())
    smaller = resize(batch, size)
    assert (smaller.shape, smaller.dtype) == ((3, n_channels, size, size), torch.uint8)
    for image, one in zip(batch, smaller, strict=True):
        for channel, found in zip(image, one, strict=True):
            truth = Image.fromarray(channel.numpy()).resize((size, size), Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(truth, dtype=int) - found.numpy()).max() <= 1


def test_resize_gives_floats_as_bytes_and_leaves_what_fits() -> None:
    batch = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8, generator=generator())
    assert resize(batch, 20) is batch
    for size in (12, 30):
        smooth = resize(batch.to(torch.float32), size)
        assert smooth.dtype == torch.float32
        assert (smooth - resize(batch, size)).abs().max() < 1.1  # it rounds in each direction
