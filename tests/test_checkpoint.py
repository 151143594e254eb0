"""Checkpoints: what is written is read again, and what is damaged is named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.arch import Arch
from nas.errors import NasError
from nas.network.build import build
from nas.network.checkpoint import Checkpoint
from nas.space import SearchSpace

ARCH = replace(SearchSpace.load("tiny").random(0), name="small one", scaling="mobilenet_v2")


def checkpoint(arch: Arch = ARCH) -> Checkpoint:
    return Checkpoint(
        arch=arch,
        weights=build(arch).state_dict(),
        classes=tuple(f"class {number}" for number in range(arch.num_classes)),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    written = checkpoint()
    written.save(tmp_path / "net.safetensors")
    read = Checkpoint.load(tmp_path / "net.safetensors")
    assert (read.arch, read.classes, read.mean, read.std) == (
        written.arch,
        written.classes,
        written.mean,
        written.std,
    )
    images = torch.randn(2, 3, ARCH.resolution, ARCH.resolution)
    assert torch.equal(read.network()(images), written.network()(images))


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NasError, match=r"net\.safetensors must be a checkpoint"):
        Checkpoint.load(path)


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"none\.safetensors must be a checkpoint.*Check the path"):
        Checkpoint.load(tmp_path / "none.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(NasError, match="must be a checkpoint of version 1, but says None"):
        Checkpoint.load(tmp_path / "other.safetensors")


def test_weights_of_another_network_are_named() -> None:
    other = SearchSpace.load("tiny").random(1)
    assert other.key() != ARCH.key()
    mixed = replace(checkpoint(), weights=checkpoint(other).weights)
    with pytest.raises(NasError, match="these weights do not fit small one"):
        mixed.network()


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    weights = dict(checkpoint().weights)
    name = next(iter(weights))
    weights[name] = weights[name].clone()
    weights[name].view(-1)[0] = float("nan")
    replace(checkpoint(), weights=weights).save(tmp_path / "net.safetensors")
    with pytest.raises(NasError, match=f"holds no numbers in {name}"):
        Checkpoint.load(tmp_path / "net.safetensors")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NasError, match=r"cannot be written.*No space left"):
        checkpoint().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
