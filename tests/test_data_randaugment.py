"""Augmentation of whole batches: against Pillow's operations, and on ramps of known slopes."""

from collections.abc import Callable
from math import pi

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from nas.data.crop import ERASED_AREAS, erase, resized_crop
from nas.data.randaugment import OPERATIONS, randaugment

SIZE = 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n_images: int = 3, n_channels: int = 3) -> Tensor:
    shape = (n_images, n_channels, SIZE, SIZE)
    return torch.randint(20, 220, shape, generator=generator(), dtype=torch.uint8)


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


BY_PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, level: image,
    "brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(1 + 0.9 * level),
    "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(1 + 0.9 * level),
    "colour": lambda image, level: ImageEnhance.Color(image).enhance(1 + 0.9 * level),
    "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * level),
    "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * abs(level))),
    "solarize": lambda image, level: ImageOps.solarize(image, round(255 * (1 - abs(level)) + 0.49)),
    "autocontrast": lambda image, level: ImageOps.autocontrast(image),
    "equalize": lambda image, level: ImageOps.equalize(image),
}


@pytest.mark.parametrize("name", BY_PILLOW)
@pytest.mark.parametrize("level", [-0.7, 0.5, 1.0])
def test_colours_are_changed_as_pillow_does(name: str, level: float) -> None:
    images = noise()
    images[1, :, :, :8] = 90  # an image with few colours
    found = OPERATIONS[name](images.float(), torch.full((3,), level)).round().clamp(0, 255)
    for own, image in zip(found, images, strict=True):
        expected = tensor(BY_PILLOW[name](pillow(image), level))
        assert float((own - expected).abs().max()) <= 2, name  # Pillow cuts off, twice in colour
        assert float((own - expected).abs().mean()) < 0.8, name
    if name != "identity":
        assert not torch.equal(found, images.float())


MOVES: dict[str, Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]] = {
    "translate_x": lambda x, y, level: (x + 0.9 * level, y),
    "translate_y": lambda x, y, level: (x, y + 0.9 * level),
    "shear_x": lambda x, y, level: (x + 0.3 * level * y, y),
    "shear_y": lambda x, y, level: (x, y + 0.3 * level * x),
    "rotate": lambda x, y, level: (
        x * np.cos(level * pi / 6) - y * np.sin(level * pi / 6),
        x * np.sin(level * pi / 6) + y * np.cos(level * pi / 6),
    ),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("level", [-0.5, 0.3])
def test_moves_take_each_pixel_from_where_they_say(name: str, level: float) -> None:
    # On a ramp the value tells the place: -1 is 20, 1 is 220.
    middles = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    images = torch.stack([120 + 100 * x, 120 + 100 * y])[:, None]
    found = OPERATIONS[name](images, torch.full((2,), level))
    places = MOVES[name](x, y, level)
    is_inside = torch.stack([one.abs() < 1 - 1 / SIZE for one in places]).all(dim=0)
    assert is_inside.float().mean() > 0.4
    for own, place in zip(found[:, 0], places, strict=True):
        torch.testing.assert_close(own[is_inside], 120 + 100 * place[is_inside])


def test_every_operation_is_tested() -> None:
    assert {*BY_PILLOW, *MOVES} == set(OPERATIONS)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_each_image_gets_operations_of_its_own(n_channels: int) -> None:
    images = noise(1, n_channels).expand(64, -1, -1, -1)
    found = randaugment(images, generator(), n_operations=2, magnitude=15)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    assert len({bytes(one.numpy().tobytes()) for one in found}) > 30
    again = randaugment(images, generator(), n_operations=2, magnitude=15)
    assert torch.equal(found, again)
    assert not torch.equal(found, randaugment(images, generator(1), n_operations=2, magnitude=15))


def test_crops_are_of_the_sizes_that_they_say() -> None:
    n_images, ramp = 400, (torch.arange(32) + 0.5) / 32
    across, down = ramp.expand(32, 32), ramp[:, None].expand(32, 32)
    images = torch.stack([across, down]).expand(n_images, 2, 32, 32)
    found = resized_crop(images, 16, generator(), min_scale=0.25)
    # The slope of a ramp tells how much of the image a crop shows; its middle is off the border.
    width = 16 * (found[:, 0, 8, 8] - found[:, 0, 8, 7])
    height = 16 * (found[:, 1, 8, 8] - found[:, 1, 7, 8])
    assert 0.4 < float((width < 0).float().mean()) < 0.6  # mirrored
    area, aspect = width.abs() * height, width.abs() / height
    assert float(height.max()) <= 1.001
    assert 0.2 < float(area.min()) < 0.3
    assert float(area.max()) > 0.9
    is_free = (width.abs() < 0.99) & (height < 0.99)  # not cut off at the edge
    assert 0.74 < float(aspect[is_free].min()) < 0.8
    assert 1.25 < float(aspect[is_free].max()) < 1.34
    assert 0 <= float(found.min()) < 0.1
    unmirrored = resized_crop(images, 16, generator(), min_scale=0.25, flip=False)
    assert float((unmirrored[:, 0, 8, 8] - unmirrored[:, 0, 8, 7]).min()) > 0


def test_rectangles_are_erased_in_the_share_of_images() -> None:
    images = torch.ones(1000, 2, 20, 20)
    found = erase(images, generator(), share=0.25)
    assert torch.equal(found[:, 0], found[:, 1])
    erased = found[:, 0] == 0
    is_erased = erased.flatten(1).any(dim=1)
    assert 0.2 < float(is_erased.float().mean()) < 0.3
    for mask in erased[is_erased]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert int(mask.sum()) == int(rows.sum()) * int(columns.sum())
        for line in (rows, columns):
            first, last = line.nonzero()[0], line.nonzero()[-1]
            assert int(last - first) + 1 == int(line.sum())
    areas = erased[is_erased].float().mean(dim=(1, 2))
    assert float(areas.max()) < ERASED_AREAS[1] + 0.06
    assert float(areas.min()) < 0.06
    assert torch.equal(erase(images, generator(), share=0), images)
