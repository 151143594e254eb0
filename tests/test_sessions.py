"""Sessions: what is fed comes back, in the layout and numbers that the model has."""

import importlib
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch import Layer
from nas.latency.runner.ports import Port
from nas.latency.runner.sessions import MissingPackageError, open_session
from nas.latency.runtimes.contract import layer_module
from nas.latency.runtimes.registry import load_runtime

LAYER = "mb k3 16>48>24 s2 re @16"


def _file(dtype: str = "fp32") -> bytes:
    return load_runtime("onnxruntime", dtype).export(*layer_module(Layer.parse(LAYER)))


def test_a_port_lays_images_out_and_reads_them_back() -> None:
    port = Port(shape=(1, 4, 5, 3), dtype="uint8", is_nhwc=True, scale=0.5, zero_point=10)
    images = np.zeros((1, 3, 4, 5), np.float32)
    images[0, 2, 1, 3] = 7.4
    images[0, 1, 0, 0] = -100
    stored = port.stored(images)
    assert (stored[0, 1, 3, 2], stored[0, 0, 0, 1], stored[0, 0, 0, 0]) == (25, 0, 10)
    back = port.read(stored)
    assert back.shape == images.shape
    assert (back[0, 2, 1, 3], back[0, 1, 0, 0], back[0, 0, 0, 0]) == (7.5, -5.0, 0.0)


@pytest.mark.parametrize("is_nhwc", [True, False])
def test_a_port_keeps_floats_as_they_are(is_nhwc: bool) -> None:
    shape = (2, 4, 5, 3) if is_nhwc else (2, 3, 4, 5)
    port = Port(shape=shape, is_nhwc=is_nhwc)
    images = port.noise()
    assert images.shape == (2, 3, 4, 5)
    assert np.array_equal(port.read(port.stored(images)), images)
    assert port.stored(images).flags.c_contiguous
    with pytest.raises(ValueError, match="must have shape"):
        port.stored(images[:1])


def test_a_head_gives_numbers_without_a_layout() -> None:
    logits = np.arange(10, dtype=np.float32).reshape(1, 10)
    assert np.array_equal(Port(shape=(1, 10), is_nhwc=True).read(logits), logits)


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_a_session_runs_before_it_is_fed(dtype: str) -> None:
    session = open_session("onnxruntime", _file(dtype))
    session()
    assert session.output().shape == (1, 24, 8, 8)
    assert np.abs(session.output()).max() > 0


def test_what_is_fed_is_what_is_run() -> None:
    session = open_session("onnxruntime", _file())
    images = np.ones((1, 16, 16, 16), np.float32)
    session.feed(images)
    session()
    first = session.output()
    images[:] = 0
    session()
    assert np.array_equal(session.output(), first), "the session keeps its own copy"
    session.feed(images)
    session()
    assert not np.allclose(session.output(), first)
    with pytest.raises(ValueError, match="must have shape"):
        session.feed(images[:, :, :8])


def test_a_session_opens_a_path(tmp_path: Path) -> None:
    path = tmp_path / "layer.onnx"
    path.write_bytes(_file())
    session = open_session("onnxruntime", path)
    session()
    assert session.output().shape == (1, 24, 8, 8)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_has_the_threads_it_was_given(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ort = importlib.import_module("onnxruntime")
    seen = []
    original = ort.InferenceSession

    def watched(model: Any, options: Any, **words: Any) -> Any:
        seen.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return original(model, options, **words)

    monkeypatch.setattr(ort, "InferenceSession", watched)
    open_session("onnxruntime", _file(), threads=threads)
    assert seen == [(threads, 1)]


def test_a_missing_package_is_named_with_the_line_that_adds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingPackageError, match=r"litert needs.*pip install ai-edge-litert"):
        open_session("litert", b"")


def test_unknown_runtimes_and_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown runtime 'tvm'.*litert"):
        open_session("tvm", b"")
    with pytest.raises(ValueError, match=r"unknown mode 'fast'.*compiled"):
        open_session("torch", b"", options={"mode": "fast"})


def test_torch_files_with_pickles_are_refused() -> None:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/weights_config.json", '{"config": {"w": {"use_pickle": true}}}')
    with pytest.raises(ValueError, match="not pickles"):
        open_session("torch", content.getvalue())
