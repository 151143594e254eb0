"""The contract of every runtime: it computes what torch computes."""

import builtins
import importlib
from collections import Counter
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import quantization
from torch import nn

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.runner.sessions import Session, open_session
from nas.latency.runtimes.contract import Runtime, chain_module, layer_module
from nas.latency.runtimes.graph import steps_of
from nas.latency.runtimes.onnx_graph import onnx_model
from nas.latency.runtimes.registry import load_runtime
from nas.latency.runtimes.variants import VARIANTS
from nas.network.build import build_layer

PACKAGES = {
    "executorch": "executorch",
    "litert": "ai_edge_litert",
    "onnxruntime": "onnxruntime",
    "torch": "torch",
    "torchscript": "torch",
}
RUNTIMES = [
    (name, dtype, mode)
    for name, dtypes in VARIANTS.items()
    for dtype, modes in dtypes.items()
    for mode in modes or (None,)
]
LAYERS = [
    "conv k3 3>16 s2 hs @33",
    "conv k3 3>16 s2 re @32",
    "conv k3 8>16 s1 re @14",
    "conv k1 16>24 s1 none @7",
    "sep k3 16>24 s2 r6 @15",
    "sep k5 16>16 s1 re @14",
    "mb k3 16>16>16 s1 re @14",
    "mb k5 16>64>24 s2 se16 hs @15",
    "mb k5 16>64>24 s2 se16 hs @16",
    "mb k7 24>72>24 s1 r6 @14",
    "mb k3 24>72>24 s1 se8 re nores @14",
    "mb k3 16>48>24 s1 re nonlinear @14",
    "mb k3 24>72>24 s1 se8 seproj hs @14",
    "mb k5 16>48>24 s2 se8 seexp re @15",
    "mb k3 16>48>16 s1 hs nonlinear @14",
    "head 32>64>10 hs @7",
    "head 32>10 @7",
]
NETWORKS = ["mobilenet_v3_small", "mobilenet_v1", "mnasnet_a1"]


def _cases(subjects: list[str], slow: tuple[str, ...] = ("executorch",)) -> list[Any]:
    """Return every runtime with every subject; skipped where its package is missing."""
    cases = []
    for name, dtype, mode in RUNTIMES:
        is_missing = find_spec(PACKAGES[name]) is None
        is_slow = name in slow or mode is not None or dtype != "fp32"
        marks = [
            pytest.mark.skipif(is_missing, reason=f"{PACKAGES[name]} is not installed"),
            *([pytest.mark.slow] if is_slow else []),
        ]
        for subject in subjects:
            title = "-".join(filter(None, (name, dtype, mode, subject)))
            # Compiling takes up to half a minute.
            more = [pytest.mark.long] if mode == "compiled" else []
            cases.append(pytest.param(name, dtype, mode, subject, marks=marks + more, id=title))
    return cases


def _noisy(module: nn.Module) -> nn.Module:
    """Return a copy, for modules are kept, whose batch-norms a wrong fold would show."""
    module = deepcopy(module)
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5, generator=generator)
    return module.eval()


def _run(runtime: Runtime, module: nn.Module, images: torch.Tensor) -> NDArray[np.float32]:
    session: Session = open_session(
        runtime.name, runtime.export(module, images), options=runtime.options
    )
    session.feed(images.numpy())
    for _ in range(3):
        session()
    return session.output()


def _assert_same(
    runtime: Runtime, module: nn.Module, images: torch.Tensor, least_snr_db: float
) -> None:
    with torch.inference_mode():
        expected = module(images).numpy()
    found = _run(runtime, module, images)
    assert found.shape == expected.shape
    error = np.abs(found - expected)
    if runtime.dtype == "fp32":
        assert error.max() <= 1e-4 * np.abs(expected).max()
        return
    if runtime.mode == "s8s8":  # On x86 its products overflow now and then; see `onnx_int8`.
        least_snr_db = 6
    assert 10 * np.log10(np.square(expected).mean() / np.square(error).mean()) >= least_snr_db


@pytest.mark.parametrize(("name", "dtype", "mode", "text"), _cases(LAYERS))
def test_a_layer_is_what_torch_computes(name: str, dtype: str, mode: str | None, text: str) -> None:
    module, images = layer_module(Layer.parse(text))
    _assert_same(load_runtime(name, dtype, mode), _noisy(module), images, 28)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype", "mode", "arch"), _cases(NETWORKS, ("executorch", "torch"))
)
def test_a_whole_network_is_what_torch_computes(
    name: str, dtype: str, mode: str | None, arch: str
) -> None:
    network, images = chain_module(Arch.load(arch).scaled(resolution=64).layers)
    _assert_same(load_runtime(name, dtype, mode), network, images, 12)


# TorchScript numbers its classes through a process.
@pytest.mark.parametrize(
    ("name", "dtype", "mode", "text"),
    [case for case in _cases(LAYERS[:1]) if case.values[0] != "torchscript"],
)
def test_a_layers_file_is_the_same_every_time(
    name: str, dtype: str, mode: str | None, text: str
) -> None:
    torch.manual_seed(len(text))
    runtime = load_runtime(name, dtype, mode)
    state = torch.random.get_rng_state()
    first = runtime.export(*layer_module(Layer.parse(text)))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(3)
    layer_module.cache_clear()
    assert runtime.export(*layer_module(Layer.parse(text))) == first


@pytest.mark.parametrize(("name", "dtype", "mode", "text"), _cases(LAYERS[:1]))
def test_versions_begin_with_the_runtime(
    name: str, dtype: str, mode: str | None, text: str
) -> None:
    runtime = load_runtime(name, dtype, mode)
    assert next(iter(runtime.versions)).replace("-", "_") == PACKAGES[name]
    assert (runtime.name, runtime.dtype) == (name, dtype)


def test_a_networks_signal_neither_fades_nor_grows() -> None:
    network, images = chain_module(Arch.load("mobilenet_v3_large").scaled(resolution=64).layers)
    network = deepcopy(network)  # Its modules are kept; the hooks must not be.
    scales: list[float] = []
    for layer in network.children():
        layer.register_forward_hook(lambda part, inputs, result: scales.append(float(result.std())))
    with torch.inference_mode():
        network(images)
    assert len(scales) == 18
    assert 0.02 < min(scales[:-1]) <= max(scales[:-1]) < 200


def _float_borders(model: bytes) -> tuple[bool, bool]:
    graph = onnx.load_from_string(model).graph
    kinds = [value.type.tensor_type.elem_type for value in (graph.input[0], graph.output[0])]
    return kinds[0] == onnx.TensorProto.FLOAT, kinds[1] == onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    ("text", "borders"),
    [
        ("conv k3 3>16 s2 hs @32", (True, False)),
        ("mb k3 16>48>24 s1 re @14", (False, False)),
        ("head 32>10 @7", (False, True)),
    ],
)
def test_only_a_networks_own_ends_are_floats(text: str, borders: tuple[bool, bool]) -> None:
    runtime = load_runtime("onnxruntime", "int8")
    assert _float_borders(runtime.export(*layer_module(Layer.parse(text)))) == borders


def test_the_eight_bit_numbers_fill_their_range() -> None:
    layer = "mb k3 16>48>24 s1 re @14"
    model = load_runtime("onnxruntime", "int8").export(*layer_module(Layer.parse(layer)))
    weights = [
        onnx.numpy_helper.to_array(constant)
        for constant in onnx.load_from_string(model).graph.initializer
        if constant.name.endswith("weight.q")
    ]
    assert len(weights) == 3
    for weight in weights:
        peaks = np.abs(weight.reshape(len(weight), -1).astype(int)).max(axis=1)
        assert set(peaks) == {63}, "per channel, in 7 bits"


def test_steps_have_the_ranges_and_shapes_of_hooks() -> None:
    module, images = layer_module(Layer.parse("mb k5 16>64>24 s2 se16 hs @15"))
    module = _noisy(module)
    steps = steps_of(module, images, n_noise=0)
    kinds = Counter(step.kind for step in steps)
    assert kinds == {"input": 1, "conv": 5, "hswish": 2, "pool": 1, "hsigmoid": 1, "mul": 1}
    with torch.inference_mode():
        result = module(images)
    assert steps[-1].shape == tuple(result.shape)
    assert (steps[-1].low, steps[-1].high) == (float(result.min()), float(result.max()))
    assert (steps[0].low, steps[0].high) == (float(images.min()), float(images.max()))


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


class _Images:
    """What `quantize_static` calibrates with."""

    def __init__(self, name: str, images: torch.Tensor) -> None:
        self._left = [{name: images.numpy()}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


# Inside a network a layer has neither the conversions nor the transposes of its ends.
BORDERS = {"QuantizeLinear", "DequantizeLinear", "Transpose"}


@pytest.mark.slow
@pytest.mark.parametrize("text", LAYERS[4:10])
def test_the_runtime_makes_the_same_graph_of_its_own_quantisation(
    text: str, tmp_path: Path
) -> None:
    module, images = layer_module(Layer.parse(text))
    module = _noisy(module)
    float_path, prepared, quantised = (tmp_path / f"{name}.onnx" for name in "abc")
    float_path.write_bytes(onnx_model(module, images))
    quantization.shape_inference.quant_pre_process(str(float_path), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(quantised),
        _Images(onnx.load(float_path).graph.input[0].name, images),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    ours = load_runtime("onnxruntime", "int8").export(module, images)
    counts = [
        Counter(op for op in _optimised_ops(model, tmp_path / "d.onnx") if op not in BORDERS)
        for model in (quantised.read_bytes(), ours)
    ]
    assert counts[0] == counts[1]


def _litert_ops(model: bytes) -> list[str]:
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    content = schema.ModelT.InitFromPackedBuf(model, 0)
    codes = [names[code.builtinCode] for code in content.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in content.subgraphs[0].operators]


# It imports jax, transformers and more, which warn of each other.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.skipif(find_spec("litert_torch") is None, reason="litert_torch is not installed")
@pytest.mark.parametrize("text", [text for text in LAYERS if "head" not in text])
def test_litert_gets_the_operators_of_its_own_converter(text: str, tmp_path: Path) -> None:
    converter = importlib.import_module("litert_torch")
    quantizer = importlib.import_module("ai_edge_quantizer.quantizer")
    recipe = importlib.import_module("ai_edge_quantizer.recipe")
    module, images = layer_module(Layer.parse(text))
    module = _noisy(module)
    path = tmp_path / "theirs.tflite"
    nhwc = images.permute(0, 2, 3, 1).contiguous()
    wrapped = converter.to_channel_last_io(module, args=[0], outputs=[0]).eval()
    converter.convert(wrapped, (nhwc,)).export(str(path))
    ours = load_runtime("litert").export(module, images)
    assert _litert_ops(ours) == _litert_ops(path.read_bytes())

    theirs = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    calibrated = theirs.calibrate({"serving_default": [{"args_0": nhwc.numpy()}]})
    theirs.quantize(calibrated).export_model(str(tmp_path / "int8.tflite"))
    ours = load_runtime("litert", "int8").export(module, images)
    # Theirs takes the image in 8 bits, too.
    found = [op for op in _litert_ops(ours) if op != "QUANTIZE"]
    assert found == _litert_ops((tmp_path / "int8.tflite").read_bytes())


def test_the_model_is_valid_onnx() -> None:
    layer = Layer.parse("mb k5 16>64>24 s2 se16 hs @15")
    for dtype in VARIANTS["onnxruntime"]:
        content = load_runtime("onnxruntime", dtype).export(*layer_module(layer))
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


@pytest.mark.parametrize("part", [nn.Softmax(dim=1), nn.PReLU()])
def test_a_part_without_a_form_is_named(part: nn.Module) -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(NasError, match=rf"{type(part).__name__}.*onnx_graph.py"):
        load_runtime("onnxruntime").export(nn.Sequential(part), images)
    with pytest.raises(NasError, match=rf"{type(part).__name__}.*graph.py"):
        load_runtime("onnxruntime", "int8").export(nn.Sequential(part), images)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("onnxruntime", "onnx", "latency"),
        ("onnxruntime", "onnxruntime", "latency"),
        ("litert", "ai_edge_litert", "litert"),
        ("executorch", "executorch", "executorch"),
    ],
)
def test_a_missing_package_is_answered_with_the_line_that_adds_it(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_module(name: str) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return builtins.__import__(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(NasError, match=rf'{package}.*pip install "nas-cpu\[{extra}\]"'):
        load_runtime(name).export(*layer_module(Layer.parse("conv k1 3>8 s1 re @8")))


def test_the_version_of_a_missing_package_is_answered_likewise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(NasError, match=r'ai-edge-litert.*pip install "nas-cpu\[litert\]"'):
        _ = load_runtime("litert").versions


@pytest.mark.parametrize(
    ("name", "dtype", "mode", "message"),
    [
        ("onnxruntim", "fp32", None, "Did you mean onnxruntime"),
        ("onnxruntime", "fp64", None, "unknown dtype.*fp32"),
        ("onnxruntime", "int8", "u8u8", "unknown mode.*Did you mean u8s8"),
        ("onnxruntime", "fp32", "u8s8", "no modes in fp32.*Leave it out"),
        ("torch", "fp32", "compile", "Did you mean compiled"),
    ],
)
def test_a_wrong_runtime_is_refused(name: str, dtype: str, mode: str | None, message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_runtime(name, dtype, mode)
