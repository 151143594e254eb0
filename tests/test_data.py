"""Assembling a data set: the parts, the cache, the bounds and the errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nas.data import assemble as assembling
from nas.data import cache, image_folder, memory
from nas.data.assemble import assemble
from nas.data.images import ImageData, Images
from nas.data.options import Options
from nas.data.source import ArrayPart, Source
from nas.errors import NasError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/nas-cpu/data"


def marked(n_images: int, n_classes: int = 2) -> ArrayPart:
    """Return images (4 x 4) that all differ and tell their label in the first pixel."""
    labels = np.arange(n_images, dtype=np.int64) % n_classes
    pixels = np.zeros((n_images, 4, 4), dtype=np.uint8)
    pixels[:, 0, 0] = labels
    pixels[:, 1, 0], pixels[:, 1, 1] = np.divmod(np.arange(n_images), 256)
    return ArrayPart(pixels=pixels, labels=labels, where="marked")


def source(**changed: Any) -> Source:
    given: dict[str, Any] = {"name": "marked", "classes": ("a", "b"), "train": marked(40)}
    return Source(**{**given, **changed})


def numbers(images: Images) -> list[int]:
    """Return which images of `marked` these are."""
    high, low = images.pixels[:, 0, 1, 0].int(), images.pixels[:, 0, 1, 1].int()
    return (256 * high + low).tolist()


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two classes with six colour images of 5 x 5 pixels each."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(6):
            pixels = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            write_image(tmp_path / "pets" / name / f"{number}.png", pixels)
    return tmp_path / "pets"


def test_parts_are_disjoint_and_hold_their_labels() -> None:
    data = assemble(source(test=marked(300)), Options(validation=0.25))
    train, validation = numbers(data.train), numbers(data.validation)
    assert sorted(train + validation) == list(range(40))
    assert len(validation) == 10
    assert train != sorted(train)  # the first n are a fair sample
    assert data.test is not None
    assert numbers(data.test) == list(range(300))
    for part in (data.train, data.validation, data.test):
        assert torch.equal(part.pixels[:, 0, 0, 0].long(), part.labels)


def test_an_own_validation_part_is_taken_whole() -> None:
    data = assemble(source(validation=marked(7)), Options(validation=0.5))
    assert (len(data.train), sorted(numbers(data.validation))) == (40, list(range(7)))


def test_limit_bounds_each_part() -> None:
    data = assemble(source(test=marked(300)), Options(limit=20, validation=0.25))
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 5, 20]
    assert torch.bincount(data.test.labels).tolist() == [10, 10]
    assert numbers(data.test) == sorted(numbers(data.test))


def test_digest_names_content_and_split() -> None:
    first = assemble(source(), Options())
    assert first.digest == assemble(source(), Options()).digest
    assert len(first.digest) == 16
    part = marked(40)
    part.pixels[3, 3, 3] += 1
    others = [
        assemble(source(), Options(seed=1)),
        assemble(source(), Options(validation=0.3)),
        assemble(source(), Options(size=8)),
        assemble(source(classes=("a", "c")), Options()),
        assemble(source(train=part), Options()),
        assemble(source(test=marked(4)), Options()),
    ]
    assert len({first.digest, *(data.digest for data in others)}) == 7
    assert assemble(source(name="other"), Options()).digest == first.digest


def test_digest_is_not_of_path_or_date(folder: Path) -> None:
    first = image_folder.load(path=str(folder))
    second = image_folder.load(path=str(folder.rename(folder.with_name("moved"))))
    assert (first.digest, first.name, second.name) == (second.digest, "pets", "moved")


def test_progress_counts_images() -> None:
    seen: list[tuple[int, int]] = []
    assemble(source(test=marked(300)), Options(), lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {340}
    assert seen[-1] == (340, 340)


def refuse(*_: Any) -> None:
    raise AssertionError("decoded again")


def test_decoded_images_are_kept(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = image_folder.load(path=str(folder))
    assert [path.suffix for path in own_cache.iterdir()] == [".safetensors"]
    monkeypatch.setattr(assembling, "decode", refuse)
    again = image_folder.load(path=str(folder))
    assert (again.name, again.digest, again.classes) == (first.name, first.digest, first.classes)
    assert torch.equal(again.train.pixels, first.train.pixels)
    assert torch.equal(again.validation.labels, first.validation.labels)
    assert again.test is None
    for changed in ({"size": 4}, {"seed": 1}, {"limit": 8}, {"validation": 0.3}):
        with pytest.raises(AssertionError, match="decoded again"):
            image_folder.load(path=str(folder), **changed)


def test_a_changed_file_is_decoded_again(folder: Path) -> None:
    first = image_folder.load(path=str(folder))
    write_image(folder / "cat/0.png", np.zeros((5, 5, 3), dtype=np.uint8))
    assert image_folder.load(path=str(folder)).digest != first.digest


@pytest.mark.parametrize("damage", ["truncated", "changed", "emptied", "replaced"])
def test_a_damaged_cache_is_written_again(folder: Path, own_cache: Path, damage: str) -> None:
    first = image_folder.load(path=str(folder))
    (kept,) = own_cache.iterdir()
    whole = kept.read_bytes()
    damaged = {
        "truncated": whole[:-20],
        "changed": whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
        "emptied": b"",
        "replaced": json.dumps({"image_data": {}}).encode(),
    }
    kept.write_bytes(damaged[damage])
    assert image_folder.load(path=str(folder)).digest == first.digest
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_only_costs_time(folder: Path, own_cache: Path) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("in the way")
    assert len(image_folder.load(path=str(folder)).train) == 10


def test_the_cache_is_bounded(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = assemble(source(), Options())
    for key in ("first", "second"):
        cache.keep(key, data)
    abandoned = own_cache / ".abc.1.draft"
    abandoned.write_text("")
    (size,) = {path.stat().st_size for path in own_cache.glob("*.safetensors")}
    monkeypatch.setattr(cache, "MAX_BYTES", 2 * size)
    monkeypatch.setattr(cache, "DRAFT_SECONDS", -1)
    found = cache.find("first")  # so that `second` is the one that was used longest ago
    assert found is not None
    cache.keep("third", data)
    kept = [key for key in ("first", "second", "third") if cache.find(key)]
    assert (kept, abandoned.exists()) == (["first", "third"], False)


def test_a_large_data_set_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembling, "decode", refuse)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**31)
    large = source(train=marked(400))
    with pytest.raises(
        NasError, match=r"400 images of marked would take 1\.5 GiB .* 1\.0 GiB\. Lower data\.size"
    ):
        assemble(large, Options(size=2000))
    with pytest.raises(AssertionError, match="decoded again"):
        assemble(large, Options(size=1000))


def test_free_memory_is_a_part_of_the_machine() -> None:
    assert 2**24 < memory.available_bytes() < 2**45


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"classes": ("a",)}, r"marked must have at least 2 classes, but has a\."),
        ({"classes": ("a", "b", "c")}, r"class 'c' of marked must have at least 2 .* but has 0"),
        ({"train": marked(3)}, r"class 'b' of marked must have at least 2 images .* but has 1"),
        ({"test": marked(9, 3)}, r"image 2 of marked has label 2, but .* from 0 to 1"),
    ],
)
def test_what_is_wrong_with_the_classes_is_said(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(NasError, match=text):
        assemble(source(**changed), Options())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 3}, r"data\.size must be an integer from 4 to 2048, but is 3"),
        ({"size": 8.0}, r"data\.size must be an integer"),
        ({"limit": 0}, r"data\.limit must be an integer from 4"),
        ({"seed": -1}, r"data\.seed must be an integer from 0"),
        ({"validation": 0}, r"data\.validation must be the share .* but is 0"),
        ({"validation": 1.5}, r"data\.validation .* but is 1\.5"),
    ],
)
def test_options_are_bounded(options: dict[str, Any], text: str) -> None:
    with pytest.raises(NasError, match=text):
        Options(**options)


def test_a_limit_below_two_images_a_class_is_refused() -> None:
    part = marked(40, 5)
    with pytest.raises(NasError, match=r"data\.limit must be at least 10, two .* but is 8"):
        assemble(source(classes=tuple("abcde"), train=part), Options(limit=8))


@pytest.mark.parametrize(
    ("pixels", "labels", "text"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2).long(), r"pixels must be bytes .* torch\.float32"),
        (torch.zeros(2, 4, 4).byte(), torch.zeros(2).long(), r"pixels must be .* \(2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4).byte(), torch.zeros(2), r"labels must be torch\.int64"),
        (torch.zeros(2, 1, 4, 4).byte(), torch.zeros(3).long(), r"labels .* of shape \(3,\)"),
    ],
)
def test_images_are_bytes_with_labels(
    pixels: torch.Tensor, labels: torch.Tensor, text: str
) -> None:
    with pytest.raises(NasError, match=text):
        Images(pixels=pixels, labels=labels)


def test_mean_and_standard_deviation_are_the_training_parts() -> None:
    data = assemble(source(), Options())
    mean, std = data.mean_and_std()
    truth = data.train.pixels.numpy() / 255
    assert mean.tolist() == pytest.approx([truth.mean()], rel=1e-5)
    assert std.tolist() == pytest.approx([truth.std(ddof=1)], rel=1e-5)
    assert (data.size, data.n_channels, isinstance(data, ImageData)) == (4, 1, True)
