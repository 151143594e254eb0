"""Exports: kept files are whole or not there, and a worker's end is told."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.runtimes import export
from nas.latency.runtimes.cache import ModelCache, default_folder
from nas.latency.runtimes.contract import layer_module
from nas.latency.runtimes.export import exported, subject_module, subject_of
from nas.latency.runtimes.registry import load_runtime

LAYERS = ["conv k1 16>24 s1 none @7", "head 32>10 @7", "mb k3 16>48>24 s2 re @16"]


class Counted:
    """A runtime whose files are words, and which counts what it makes."""

    name, dtype, mode, suffix, is_slow = "counted", "fp32", None, ".txt", True

    def __init__(self) -> None:
        self.versions = {"counted": "1"}
        self.options: dict[str, str] = {}
        self.n_exports = 0

    def export(
        self, module: Any, images: Any, *, calibration: Any = None, facts: Any = None
    ) -> bytes:
        """Return the size of the images as text."""
        self.n_exports += 1
        return str(tuple(images.shape)).encode() * 100


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Return a runtime that `exported` runs in this process."""
    runtime = Counted()

    def made(subjects: Any, runtime: Any, n_workers: int) -> Any:
        return ((subject, export._export(subject, runtime)) for subject in subjects)

    monkeypatch.setattr(export, "_made_in_workers", made)
    return runtime


def _export(runtime: Any, cache: ModelCache, subjects: list[str] = LAYERS) -> dict[str, bytes]:
    files = exported(subjects, runtime, cache=cache)
    return {
        subject: file if isinstance(file, bytes) else file.read_bytes() for subject, file in files
    }


def test_a_subject_names_its_module_in_any_process() -> None:
    arch = Arch.load("mobilenet_v3_small").scaled(resolution=64)
    module, images = subject_module(subject_of(arch.layers))
    layer_module.cache_clear()  # as in another process
    again, _ = subject_module(subject_of(arch.layers))
    assert images.shape == (1, 3, 64, 64)
    first, second = module.state_dict(), again.state_dict()
    assert all(first[name].equal(second[name]) for name in first)
    layer = Layer.parse(LAYERS[2])
    assert subject_module(subject_of([layer]))[1].shape == (1, 16, 16, 16)


def test_a_second_run_makes_nothing(runtime: Counted, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    first = _export(runtime, cache, LAYERS * 2)
    assert runtime.n_exports == 3
    assert _export(runtime, cache) == first
    assert runtime.n_exports == 3


@pytest.mark.parametrize("name", ["versions", "dtype", "mode", "name"])
def test_another_condition_is_another_file(runtime: Counted, tmp_path: Path, name: str) -> None:
    _export(runtime, ModelCache(tmp_path))
    setattr(runtime, name, {"counted": "2"} if name == "versions" else "other")
    _export(runtime, ModelCache(tmp_path))
    assert runtime.n_exports == 6


@pytest.mark.parametrize("damage", ["truncated", "edited", "empty"])
def test_a_broken_file_is_made_again(runtime: Counted, tmp_path: Path, damage: str) -> None:
    first = _export(runtime, ModelCache(tmp_path))
    for path in tmp_path.glob("*/*.txt"):
        content = path.read_bytes()
        parts = {"truncated": content[:-1], "edited": content[:-1] + b"x", "empty": b""}
        path.write_bytes(parts[damage])
    assert _export(runtime, ModelCache(tmp_path)) == first
    assert runtime.n_exports == 6


def test_a_full_disk_only_costs_the_cache(
    runtime: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert set(_export(runtime, ModelCache(tmp_path))) == set(LAYERS)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_made_only_costs_the_cache(
    runtime: Counted, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert set(_export(runtime, ModelCache(tmp_path / "file" / "models"))) == set(LAYERS)


def test_what_was_used_least_recently_goes_first(runtime: Counted, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, max_bytes=3500)
    for age, subject in enumerate(LAYERS):
        path = cache.store(subject, runtime, str(age).encode() * 1500)
        assert path
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.find(LAYERS[0], runtime)
    cache.trim()
    assert [bool(cache.find(subject, runtime)) for subject in LAYERS] == [True, False, True]


def test_the_cache_is_where_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/nas-cpu/models")


def test_a_layer_that_fails_is_named(runtime: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: Any, images: Any) -> bytes:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(runtime, "export", fail)
    with pytest.raises(NasError, match=r"`conv k1 16>24.*for counted fp32.*no such kernel"):
        list(exported(LAYERS, runtime))


def test_a_fast_runtime_keeps_no_files(tmp_path: Path) -> None:
    runtime = load_runtime("onnxruntime")
    steps = []
    files = exported(
        LAYERS,
        runtime,
        cache=ModelCache(tmp_path),
        on_step=lambda what, n_done, n_all: steps.append((n_done, n_all)),
    )
    assert all(isinstance(file, bytes) for _, file in files)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_workers_make_what_this_process_makes(tmp_path: Path) -> None:
    made = dict(export._made_in_workers(LAYERS, load_runtime("onnxruntime"), 2))
    assert made == dict(exported(LAYERS, load_runtime("onnxruntime")))


def _die(subject: str, name: str, dtype: str, mode: str | None) -> bytes:
    if "head" in subject:
        os.kill(os.getpid(), signal.SIGKILL)
    return subject.encode()


@pytest.mark.slow
def test_the_layer_of_a_killed_worker_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_export_by_name", _die)
    runtime, cache = Counted(), ModelCache(tmp_path)
    with pytest.raises(NasError, match=r"layer `head 32>10 @7`.*was killed.*n_workers=1"):
        list(exported(LAYERS, runtime, n_workers=1, cache=cache))
    assert cache.find(LAYERS[0], runtime), "what was made before is kept"
