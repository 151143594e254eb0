"""Every source of images: what it reads, and what it says of what it cannot read."""

import gzip
import io
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nas.data import dataset, digits, fashion_mnist, hub, image_folder
from nas.data.idx import read_idx
from nas.data.images import ImageData, Images
from nas.errors import NasError
from nas.paths import SHIPPED
from nas.text import read_yaml

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "nas-cpu/data"


def write_image(path: Path, pixels: NDArray[np.uint8] | Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path)


def plain(colour: tuple[int, ...], width: int = 6, height: int = 6) -> NDArray[np.uint8]:
    return np.full((height, width, len(colour)), colour, dtype=np.uint8)


def fill(folder: Path, n_images: int = 3) -> None:
    """Write a folder for each colour."""
    for name, colour in COLOURS.items():
        for number in range(n_images):
            write_image(folder / name / f"{number}.png", plain(colour))


def is_plain(images: Images) -> bool:
    """Return whether each image is of its label's colour."""
    truth = torch.tensor(list(COLOURS.values()))[images.labels].byte()
    return torch.equal(images.pixels, truth[:, :, None, None].expand_as(images.pixels))


# ------------------------------------------------------------------------------------ digits


def test_digits_are_those_of_scikit_learn() -> None:
    data = digits.load()
    assert (data.name, data.size, data.n_channels, data.test) == ("digits", 8, 1, None)
    assert data.classes == tuple("0123456789")
    assert (len(data.train), len(data.validation)) == (1797 - 359, 359)
    # The published counts of the test set of UCI's data, 178 to 183 a digit.
    counts = torch.bincount(torch.cat([data.train.labels, data.validation.labels]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(data.train.pixels.max()) == 255
    assert digits.load(size=16, limit=100).size == 16


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(NasError, match=r"package sklearn.* pip install .nas-cpu\[data\]"):
        digits.load()


# ------------------------------------------------------------------------------ fashion_mnist


def idx(array: NDArray[np.uint8], magic: int | None = None) -> bytes:
    magic = 0x800 | array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_mnist(folder: Path, n_train: int = 40, n_test: int = 20, separator: str = "-") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, n_images in (("train", n_train), ("t10k", n_test)):
        labels = (np.arange(n_images) % 10).astype(np.uint8)
        pixels = np.broadcast_to(labels[:, None, None], (n_images, 28, 28)).astype(np.uint8)
        for kind, array in (("images", pixels), ("labels", labels)):
            path = folder / f"{name}-{kind}{separator}idx{array.ndim}-ubyte"
            path.write_bytes(idx(array))


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("is_zipped", [True, False])
def test_idx_files_are_read(tmp_path: Path, is_zipped: bool, separator: str) -> None:
    write_mnist(tmp_path, separator=separator)
    for path in list(tmp_path.glob("*ubyte")) if is_zipped else []:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    data = fashion_mnist.load(path=str(tmp_path), validation=0.25)
    assert data.test is not None
    assert (data.name, data.size, data.n_channels) == ("fashion_mnist", 28, 1)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [30, 10, 20]
    for part in (data.train, data.validation, data.test):
        assert torch.equal(part.pixels[:, 0, 7, 9].long(), part.labels)


def replaced(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("train-images-idx3-ubyte", lambda c: c[:-5], r"must hold 31,360 bytes .* has 31,355"),
        ("train-images-idx3-ubyte", lambda c: c + b"x", r"31,360 bytes after .* has more"),
        ("train-images-idx3-ubyte", lambda c: c[:9], r"too short to be an idx file: 9 bytes"),
        (
            "t10k-labels-idx1-ubyte",
            lambda c: b"\x89PNG" + c[4:],
            r"magic number 0x00000801 .* starts with 0x89504e47",
        ),
        (
            "train-images-idx3-ubyte",
            lambda c: c[:4] + b"\xff" * 12,
            r"says that it holds [\d,]+ bytes, but .* at most",
        ),
        ("t10k-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a", r"image 19 of .* has label 10"),
        (
            "train-labels-idx1-ubyte",
            lambda c: c[:4] + struct.pack(">I", 39) + c[8:-1],
            r"holds 40 images, but .*train-labels-idx1-ubyte 39 labels",
        ),
    ],
)
def test_what_is_wrong_with_an_idx_file_is_said(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], text: str
) -> None:
    write_mnist(tmp_path)
    replaced(tmp_path / name, change)
    with pytest.raises(NasError, match=text) as error:
        fashion_mnist.load(path=str(tmp_path))
    assert name.split("-")[0] in str(error.value)


@pytest.mark.parametrize("change", [lambda c: c[:-9], lambda c: b"xx" + c[2:], lambda c: c[:60]])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x-idx1-ubyte.gz"
    noise = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)
    path.write_bytes(change(gzip.compress(idx(noise))))
    with pytest.raises(NasError, match=r"x-idx1-ubyte\.gz cannot be read"):
        read_idx(path, 1)


def test_missing_idx_files_name_the_package_that_has_them(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"nowhere must hold .* \(apt-get install dataset-fashion"):
        fashion_mnist.load(path=str(tmp_path / "nowhere"))


# -------------------------------------------------------------------------------- image_folder


def test_class_folders_are_read(tmp_path: Path) -> None:
    fill(tmp_path / "colours", 5)
    (tmp_path / "colours/red/notes.txt").write_text("left out")
    (tmp_path / "colours/.thumbnails").mkdir()
    data = image_folder.load(path=str(tmp_path / "colours"), validation=0.2)
    assert (data.name, data.classes, data.size, data.n_channels, data.test) == (
        "colours",
        ("blue", "green", "red"),
        6,
        3,
        None,
    )
    assert (len(data.train), len(data.validation)) == (12, 3)
    assert is_plain(data.train) and is_plain(data.validation)


@pytest.mark.parametrize("held_out", ["validation", "val", "valid"])
def test_parts_of_a_folder_are_kept_apart(tmp_path: Path, held_out: str) -> None:
    for name, n_images in (("train", 4), (held_out, 2), ("test", 1)):
        fill(tmp_path / name, n_images)
    data = image_folder.load(path=str(tmp_path))
    assert data.test is not None
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [12, 6, 3]
    assert all(is_plain(part) for part in parts)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".PNG"])
def test_formats_are_read(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path)
    for path in tmp_path.glob("*/*.png"):
        image = Image.open(path)
        path.unlink()
        image.save(path.with_suffix(suffix))
    data = image_folder.load(path=str(tmp_path))
    truth = torch.tensor(list(COLOURS.values()))[data.train.labels]
    assert (data.train.pixels.float().mean(dim=(2, 3)) - truth).abs().max() < 6


def test_grey_stays_grey_and_becomes_colour_where_one_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            grey = np.full((6, 6), 40 * number, dtype=np.uint8)
            write_image(tmp_path / name / f"{number}.png", grey)
    assert image_folder.load(path=str(tmp_path)).n_channels == 1
    write_image(tmp_path / "b/3.png", plain((250, 0, 0)))
    data = image_folder.load(path=str(tmp_path))
    pixels = torch.cat([data.train.pixels, data.validation.pixels])[:, :, 0, 0].tolist()
    grey_pixels = [[value] * 3 for value in (0, 40, 80)] * 2
    assert sorted(pixels) == sorted([*grey_pixels, [250, 0, 0]])


@pytest.mark.parametrize(
    ("mode", "truth"),
    [("RGBA", (200, 100, 50)), ("P", (200, 100, 50)), ("CMYK", (200, 100, 50)), ("LA", (124,))],
)
def test_modes_become_grey_or_colour(tmp_path: Path, mode: str, truth: tuple[int, ...]) -> None:
    image = Image.new("RGB", (6, 6), (200, 100, 50))
    suffix = ".tif" if mode == "CMYK" else ".png"
    converted = image.quantize(4) if mode == "P" else image.convert(mode)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        write_image(tmp_path / f"{name}{suffix}", converted)
    pixels = image_folder.load(path=str(tmp_path)).train.pixels
    assert np.abs(pixels[0, :, 0, 0].numpy().astype(int) - truth).max() <= 2
    assert pixels.shape[1] == len(truth)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (400, 200), (13, 7)])
def test_size_keeps_the_centre_of_the_short_side(
    tmp_path: Path, width: int, height: int, suffix: str
) -> None:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (max(0, (length - min(width, height)) // 2) for length in (width, height))
    pixels[top : height - top, left : width - left, 0] = 240  # the centre square is red
    for name in ("a/0", "a/1", "b/0", "b/1"):
        write_image(tmp_path / f"{name}{suffix}", pixels)
    data = image_folder.load(path=str(tmp_path), size=8)
    assert data.train.pixels.shape[1:] == (3, 8, 8)
    inner = data.train.pixels[:, :, 1:-1, 1:-1].float().mean(dim=(0, 2, 3))
    assert (inner - torch.tensor([240, 0, 0])).abs().max() < 12


def write_two_sizes(folder: Path) -> None:
    fill(folder)
    write_image(folder / "red/2.png", plain((1, 2, 3), width=9, height=8))


def write_corrupt(folder: Path) -> None:
    fill(folder)
    replaced(folder / "green/1.png", lambda content: content[: len(content) // 2])


def write_text_file(folder: Path) -> None:
    fill(folder)
    (folder / "green/1.png").write_text("no image")


def write_empty_class(folder: Path) -> None:
    fill(folder)
    (folder / "violet").mkdir()
    (folder / "violet/notes.txt").write_text("")


def write_unknown_class(folder: Path) -> None:
    fill(folder / "train")
    write_image(folder / "test/violet/0.png", plain((1, 2, 3)))


def write_wide(folder: Path) -> None:
    fill(folder)
    for path in folder.glob("*/*.png"):
        write_image(path, plain((1, 2, 3), width=7))


def write_deep(folder: Path) -> None:
    fill(folder)
    write_image(folder / "green/1.png", Image.new("I;16", (6, 6), 40_000))


def write_one_class(folder: Path) -> None:
    write_image(folder / "red/0.png", plain((1, 2, 3)))


def write_loose(folder: Path) -> None:
    write_image(folder / "0.png", plain((1, 2, 3)))


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (
            write_two_sizes,
            r"red/2\.png is 9 x 8 pixels, but images before it 6 x 6\. Give data\.size",
        ),
        (write_wide, r"blue/0\.png is 7 x 6 pixels, but images must be square\. Give data\.size"),
        (write_corrupt, r"green/1\.png is not an image that can be read: .* Replace it"),
        (write_text_file, r"green/1\.png is not an image that can be read: cannot identify"),
        (write_empty_class, r"class folder .*violet holds no image"),
        (write_unknown_class, r"test/violet is a class that the training .* Known: blue, green"),
        (write_deep, r"green/1\.png .* more than 8 bits a pixel \(mode I;16\)"),
        (write_one_class, r"must have at least 2 classes, but has red"),
        (write_loose, r"must hold a folder for each class, but holds no folder"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(
    tmp_path: Path, write: Callable[[Path], None], text: str
) -> None:
    write(tmp_path / "images")
    for _ in range(2):  # what failed is not kept
        with pytest.raises(NasError, match=text):
            image_folder.load(path=str(tmp_path / "images"))


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"nowhere must be a folder, but there is none"):
        image_folder.load(path=str(tmp_path / "nowhere"))
    with pytest.raises(NasError, match=r"data\.path=<folder"):
        image_folder.load()


# ------------------------------------------------------------------------------------- parquet


def png(colour: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(plain(colour)).save(content, format="png")
    return content.getvalue()


def write_table(
    path: Path,
    n_rows: int = 12,
    labels: list[Any] | None = None,
    image: str = "image",
    label: str = "label",
    names: list[str] | None = None,
    is_struct: bool = True,
    content: list[Any] | None = None,
) -> None:
    """Write rows of plain images, row groups of five rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = [row % 3 for row in range(n_rows)]
    files = content or [png(list(COLOURS.values())[number]) for number in numbers]
    images = [{"bytes": file, "path": None} for file in files] if is_struct else files
    struct_type = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table(
        {
            image: pyarrow.array(images, struct_type if is_struct else None),
            label: pyarrow.array(numbers if labels is None else labels),
        }
    )
    if names is not None:
        facts = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
    parquet.write_table(table, path, row_group_size=5)


@pytest.mark.parametrize("is_struct", [True, False])
@pytest.mark.parametrize("names", [None, list(COLOURS)])
def test_a_parquet_file_is_read(tmp_path: Path, is_struct: bool, names: list[str] | None) -> None:
    write_table(tmp_path / "mine.parquet", names=names, is_struct=is_struct)
    data = hub.load(path=str(tmp_path / "mine.parquet"), validation=0.25)
    assert data.name == "mine"
    assert data.classes == (tuple(COLOURS) if names else ("0", "1", "2"))
    assert (len(data.train), len(data.validation), data.test) == (9, 3, None)
    assert is_plain(data.train) and is_plain(data.validation)


def test_files_of_a_folder_are_parts(tmp_path: Path) -> None:
    write_table(tmp_path / "data/train-00000-of-00002.parquet", 12)
    write_table(tmp_path / "data/train-00001-of-00002.parquet", 9)
    write_table(tmp_path / "data/test-00000-of-00001.parquet", 6)
    write_table(tmp_path / "valid/0000.parquet", 3)
    data = hub.load(path=str(tmp_path), name="mine")
    assert data.test is not None
    parts = (data.train, data.validation, data.test)
    assert (data.name, [len(part) for part in parts]) == ("mine", [21, 3, 6])
    assert all(is_plain(part) for part in parts)
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_labels_may_be_words_and_columns_be_named(tmp_path: Path) -> None:
    words = [list(COLOURS)[row % 3] for row in range(12)]
    write_table(tmp_path / "x.parquet", labels=words, image="scan", label="kind")
    path = str(tmp_path / "x.parquet")
    data = hub.load(path=path, image_column="scan", label_column="kind")
    assert data.classes == tuple(COLOURS)
    assert is_plain(data.train)
    with pytest.raises(NasError, match=r"no column .* like its images; it has scan, kind.*Name it"):
        hub.load(path=path)
    with pytest.raises(NasError, match=r"unknown column data\.label_column .*'kin'.* mean kind"):
        hub.load(path=path, image_column="scan", label_column="kin")


def test_a_test_part_without_labels_is_left_out(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet")
    write_table(tmp_path / "test.parquet", labels=[-1] * 12)
    assert hub.load(path=str(tmp_path)).test is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"content": [b"no image"] * 12}, r"row 0 of .*x\.parquet is not an image"),
        (
            {"content": [*[png((1, 2, 3))] * 7, None, *[png((1, 2, 3))] * 4]},
            r"row 7 of .*x\.parquet must be an image's file \(its bytes\), but is None",
        ),
        ({"labels": [0.5] * 12}, r"labels of .* must all be integers or all words, .* float"),
        ({"labels": [0, 1, None] * 4}, r"must all be integers or all words, .* NoneType and int"),
        ({"labels": [0, 1, 3] * 4, "names": list("abc")}, r"row 2 of .*x\.parquet has label 3"),
        ({"labels": [0, 1, -1] * 4}, r"row 2 of .*x\.parquet has label -1, but .* from 0 to 1"),
        ({"labels": [0, 1, 10**9] * 4}, r"must be below 100,000, but one is 1,000,000,000"),
        ({"labels": [*["a", "b", "c"] * 4], "names": list("abz")}, r"unknown label .*'c'"),
        ({"labels": [0, 2, 2] * 4}, r"class '1' of x must have at least 2 images .* has 0"),
        ({"is_struct": False, "content": list(range(12))}, r"row 0 of .* must be an image's file"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    write_table(tmp_path / "x.parquet", **options)
    with pytest.raises(NasError, match=text):
        hub.load(path=str(tmp_path / "x.parquet"))


def test_broken_files_of_a_folder_are_named(tmp_path: Path) -> None:
    write_table(tmp_path / "train-0.parquet")
    write_table(tmp_path / "other.parquet")
    with pytest.raises(NasError, match=r"other\.parquet names none of the parts"):
        hub.load(path=str(tmp_path))
    (tmp_path / "other.parquet").rename(tmp_path / "train-1.parquet")
    replaced(tmp_path / "train-1.parquet", lambda content: content[:-30])
    with pytest.raises(NasError, match=r"train-1\.parquet cannot be read as parquet"):
        hub.load(path=str(tmp_path))
    (tmp_path / "train-1.parquet").unlink()
    (tmp_path / "train-0.parquet").rename(tmp_path / "test-0.parquet")
    with pytest.raises(NasError, match=r"must hold train\*\.parquet, but holds .*test-0"):
        hub.load(path=str(tmp_path))


def test_a_damaged_row_group_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path)
    group = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    start = group.dictionary_page_offset or group.data_page_offset
    replaced(path, lambda content: content[:start] + bytes(40) + content[start + 40 :])
    with pytest.raises(NasError, match=r"x\.parquet cannot be read as parquet"):
        hub.load(path=str(path))


# ----------------------------------------------------------------------------------------- hub


def test_paths_that_are_not_there_never_reach_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_tables", None)
    for path in ("/nowhere", "./nowhere", "~/nowhere", "nowhere.parquet", "data/sets/nowhere"):
        with pytest.raises(NasError, match=r"must be a file or a folder, but there is none"):
            hub.load(path=path)
    with pytest.raises(NasError, match=r"data\.path=<owner>/<name>"):
        hub.load()


@pytest.mark.slow
def test_tables_of_the_hubs_library_are_read(
    tmp_path: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    datasets = pytest.importorskip("datasets")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    write_table(tmp_path / "mine/train.parquet", 12)
    write_table(tmp_path / "mine/test.parquet", 6)
    load_dataset = datasets.load_dataset
    # The library reads a folder as it reads the hub, so the folder stands for it.
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda path, name, revision: load_dataset(str(tmp_path / path.partition("/")[2])),
    )
    data = hub.load(path="someone/mine")
    assert data.test is not None
    assert (data.name, len(data.train), len(data.validation)) == ("mine", 9, 3)
    assert is_plain(data.train) and is_plain(data.test)
    again = hub.load(path="someone/mine")
    assert again.digest == data.digest == hub.load(path=str(tmp_path / "mine")).digest
    assert len(list(own_cache.iterdir())) == 2
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(NasError, match=r"someone/mine is neither a file .* nor a data set"):
        hub.load(path="someone/mine")
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------------- dataset


class Colours(torch.utils.data.Dataset[Any]):
    """Nine images, given as `kind` says."""

    def __init__(self, kind: str = "bytes", has_targets: bool = False) -> None:
        self.kind = kind
        self.n_read = 0
        if has_targets:
            self.targets = [row % 3 for row in range(9)]

    def __len__(self) -> int:
        return 9

    def __getitem__(self, row: int) -> Any:
        self.n_read += 1
        pixels = plain(list(COLOURS.values())[row % 3])
        tensor = torch.from_numpy(pixels).movedim(-1, 0)
        grey = torch.full((6, 6), 40 * (row % 3), dtype=torch.uint8)
        images = {
            "bytes": tensor,
            "floats": tensor / 255,
            "array": pixels,
            "pillow": Image.fromarray(pixels),
            "grey": grey,
            "grey channel": grey[None],
            "normalised": tensor / 255 - 0.5,
            "text": "red",
            "four channels": torch.zeros(4, 6, 6),
            "floating array": pixels / 255,
        }
        return images[self.kind], torch.tensor(row % 3)


@pytest.mark.parametrize("kind", ["bytes", "floats", "array", "pillow"])
def test_torch_data_sets_are_read(kind: str) -> None:
    data = dataset.load(train=Colours(kind), test=Colours(kind, has_targets=True), validation=0.4)
    assert data.test is not None
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [5, 4, 9]
    assert all(is_plain(part) for part in parts)
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize("kind", ["grey", "grey channel"])
def test_grey_tensors_are_read(kind: str) -> None:
    data = dataset.load(train=Colours(kind), validation_part=Colours(kind))
    assert data.train.pixels.shape == (9, 1, 6, 6)
    assert torch.equal(data.train.pixels[:, 0, 0, 0], 40 * data.train.labels)


def test_targets_save_a_pass() -> None:
    items = Colours(has_targets=True)
    dataset.load(train=items, limit=6)
    assert items.n_read == 7  # six, and the first for its shape


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("normalised", r"item 0 of train of dataset must be .* is torch\.float32 from -0\.5"),
        ("text", r"item 0 of train .* but it is a str"),
        ("four channels", r"item 0 of train .* of shape \(6, 6, 4\)"),
        ("floating array", r"item 0 of train .* it is float64"),
    ],
)
def test_items_that_are_no_images_are_named(kind: str, text: str) -> None:
    with pytest.raises(NasError, match=text):
        dataset.load(train=Colours(kind))


def test_data_sets_without_length_or_labels_are_refused() -> None:
    with pytest.raises(NasError, match=r"must be a data set with a length .* is a generator"):
        dataset.load(train=(item for item in [1]))
    with pytest.raises(NasError, match=r"item 0 of train of dataset must be \(image, label\)"):
        dataset.load(train=[torch.zeros(1, 4, 4)])
    with pytest.raises(NasError, match=r"data\.train={_target_"):
        dataset.load()


# --------------------------------------------------------------------------------- conf/data


def made(name: str, **changed: Any) -> ImageData:
    node = {**read_yaml(SHIPPED / f"conf/data/{name}.yaml"), **changed}
    data: ImageData = hydra.utils.instantiate(node)
    return data


def test_every_choice_of_data_reads(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    fill(tmp_path / "folder")
    write_table(tmp_path / "tables/train.parquet")
    target = {"_target_": f"{__name__}.Colours"}
    tables = str(tmp_path / "tables")
    found = {
        "digits": made("digits"),
        "fashion_mnist": made("fashion_mnist", path=str(tmp_path / "mnist")),
        "cifar10": made("cifar10", path=tables),
        "hub": made("hub", path=tables),
        "image_folder": made("image_folder", path=str(tmp_path / "folder")),
        "dataset": made("dataset", train=target),
    }
    assert sorted(found) == sorted(path.stem for path in (SHIPPED / "conf/data").glob("*.yaml"))
    assert found["cifar10"].name == "cifar10"
    assert found["cifar10"].digest == found["hub"].digest


@pytest.mark.slow
@pytest.mark.skipif(not fashion_mnist.FOLDER.is_dir(), reason="Debian's package is not installed")
def test_fashion_mnist_is_the_published_one() -> None:
    data = fashion_mnist.load()
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [54000, 6000, 10000]
    assert torch.bincount(data.validation.labels).tolist() == [600] * 10
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.mean_and_std()[0].item() == pytest.approx(0.2860, abs=3e-3)  # widely quoted


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_dir(), reason="CIFAR-10 is not here")
def test_cifar10_is_the_published_one() -> None:
    data = made("cifar10", path=str(CIFAR10), limit=10_000)
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [9000, 1000, 10000]
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    mean, std = data.mean_and_std()
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-3)  # widely quoted
    assert std.tolist() == pytest.approx([0.247, 0.2435, 0.2616], abs=5e-3)
