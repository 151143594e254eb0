"""The contract of every runtime: it computes what torch computes."""

import builtins
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from torch import nn

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.devices import UNKNOWN, fastest_cores, local_device, pinned
from nas.latency.onnx_graph import onnx_model
from nas.latency.runtimes import OnnxRuntime, Runtime, load_runtime, prepare_layer
from nas.network.build import build, build_layer

RUNTIMES: list[Runtime] = [OnnxRuntime(), OnnxRuntime(threads=2)]
LAYERS = [
    "conv k3 3>16 s2 hs @33",
    "conv k3 8>16 s1 re @14",
    "conv k1 16>24 s1 none @7",
    "sep k3 16>24 s2 r6 @15",
    "sep k5 16>16 s1 re @14",
    "mb k3 16>16>16 s1 re @14",
    "mb k5 16>64>24 s2 se16 hs @15",
    "mb k7 24>72>24 s1 r6 @14",
    "mb k3 24>72>24 s1 se8 re nores @14",
    "mb k3 16>48>24 s1 re nonlinear @14",
    "head 32>64>10 hs @7",
    "head 32>10 @7",
]


def _noisy(module: nn.Module) -> nn.Module:
    """Give the batch-norms statistics that a wrong fold would show."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5, generator=generator)
    return module.eval()


def _assert_same(runtime: Runtime, module: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        expected = module(images).numpy()
    session = runtime.prepare(module, images)
    for _ in range(3):
        session()
    difference = np.abs(session.output() - expected).max()
    assert session.output().shape == expected.shape
    assert difference <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda r: f"{r.name}-{r.threads}")
@pytest.mark.parametrize("text", LAYERS)
def test_a_runtime_computes_what_torch_does(runtime: Runtime, text: str) -> None:
    layer = Layer.parse(text)
    images = torch.randn(1, layer.in_channels, layer.size, layer.size)
    _assert_same(runtime, _noisy(build_layer(layer)), images)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v1", "mnasnet_a1"])
def test_a_whole_network_computes_what_torch_does(name: str) -> None:
    network = build(Arch.load(name).scaled(resolution=64))
    _assert_same(OnnxRuntime(), network.eval(), torch.randn(1, 3, 64, 64))


def _optimised_ops(model: bytes, path: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return sorted(node.op_type for node in onnx.load(path).graph.node)


# torch warns of what its own exporter uses.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("text", ["mb k3 24>72>24 s1 re @14", "conv k3 3>16 s2 hs @32"])
def test_the_runtime_makes_the_same_graph_of_torchs_export(text: str, tmp_path: Path) -> None:
    layer = Layer.parse(text)
    module = build_layer(layer).eval()
    images = torch.randn(1, layer.in_channels, layer.size, layer.size)
    exported = torch.onnx.export(module, (images,), dynamo=True, verbose=False)
    assert exported is not None
    theirs = _optimised_ops(exported.model_proto.SerializeToString(), tmp_path / "theirs.onnx")
    ours = _optimised_ops(onnx_model(module, images), tmp_path / "ours.onnx")
    assert ours == theirs


def test_the_model_is_valid_onnx() -> None:
    layer = Layer.parse("mb k5 16>64>24 s2 se16 hs @15")
    model = onnx.load_from_string(onnx_model(build_layer(layer).eval(), torch.zeros(1, 16, 15, 15)))
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("part", [nn.Softmax(dim=1), nn.PReLU()])
def test_a_part_without_onnx_form_is_named(part: nn.Module) -> None:
    with pytest.raises(NasError, match=f"{type(part).__name__}.*onnx_graph.py"):
        onnx_model(nn.Sequential(part), torch.zeros(1, 3, 8, 8))


def test_a_session_runs_a_layer_of_fresh_weights() -> None:
    session = prepare_layer(OnnxRuntime(), Layer.parse("mb k3 16>48>24 s2 re @16"))
    session()
    assert session.output().shape == (1, 24, 8, 8)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_answered_with_the_line_that_adds_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_module(name: str) -> Any:
        if name == package:
            raise ImportError(f"No module named {name!r}")
        return builtins.__import__(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(NasError, match=rf'{package}.*pip install "nas-cpu\[latency\]"'):
        prepare_layer(OnnxRuntime(), Layer.parse("conv k1 3>8 s1 re @8"))


@pytest.mark.parametrize(
    ("name", "threads", "dtype", "message"),
    [
        ("onnxruntim", 1, "fp32", "Did you mean onnxruntime"),
        ("onnxruntime", 0, "fp32", "threads must be an integer from 1"),
        ("onnxruntime", 1, "fp64", "unknown dtype.*fp32"),
    ],
)
def test_a_wrong_runtime_is_refused(name: str, threads: int, dtype: str, message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_runtime(name, threads=threads, dtype=dtype)


def test_pinning_holds_the_thread_and_lets_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system pins nothing")
    before = os.sched_getaffinity(0)
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores) == {max(before)}
    assert os.sched_getaffinity(0) == before
    monkeypatch.delattr(os, "sched_setaffinity")
    with pinned(1) as cores:
        assert cores == ()


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(NasError, match="threads must be at most"):
        fastest_cores(100_000)


def test_the_device_is_read_from_proc_and_sys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.latency.devices._allowed_cores", lambda: [0, 1, 2])
    for core, clock_khz in enumerate((1_800_000, 2_600_000, 1_800_000)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(f"{clock_khz}\n")
        (folder / "scaling_governor").write_text("schedutil\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Quick CPU\n")
    assert fastest_cores(1, tmp_path) == (1,)
    assert fastest_cores(2, tmp_path) == (1, 2)
    device = local_device(tmp_path)
    assert (device.cpu, device.governor, device.clock_mhz) == ("Quick CPU", "schedutil", "2600")


def test_what_a_machine_hides_is_unknown(tmp_path: Path) -> None:
    device = local_device(tmp_path)
    assert (device.governor, device.clock_mhz) == (UNKNOWN, UNKNOWN)
    assert device.cpu
