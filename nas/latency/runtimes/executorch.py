"""ExecuTorch with its XNNPACK delegate: `torch.export`, lowered to one delegate."""

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.extras import require
from nas.latency.runtimes.contract import gives_floats, package_versions, takes_floats
from nas.latency.runtimes.folding import folded

EXTRA = "executorch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuTorch:
    """ExecuTorch on the CPU."""

    dtype: str = "fp32"
    mode: str | None = None
    name: str = "executorch"
    suffix: str = ".pte"
    is_slow: bool = True

    @property
    def options(self) -> dict[str, str]:
        """Return nothing: the file says it all."""
        return {}

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decide the file or the times."""
        packages = ["executorch", "torch"]
        return package_versions(EXTRA, *packages, *(["torchao"] if self.dtype == "int8" else []))

    def export(
        self,
        module: nn.Module,
        images: Tensor,
        *,
        calibration: Tensor | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the .pte file of a module; facts are constant methods that return text."""
        with _quiet(), torch.no_grad():
            require("executorch.exir", EXTRA)
            is_int8 = self.dtype == "int8"
            return _program(module, images, calibration, facts or {}, is_int8=is_int8)


def _program(
    module: nn.Module,
    images: Tensor,
    calibration: Tensor | None,
    facts: Mapping[str, str],
    *,
    is_int8: bool,
) -> bytes:
    exir = importlib.import_module("executorch.exir")
    partition = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", EXTRA)
    if not takes_floats(images):
        # Inside a network the blocks hand each other NHWC; NCHW would be turned at both ends.
        images = images.to(memory_format=torch.channels_last)
    exported = torch.export.export(folded(module, with_means=True), (images,))
    constants = {**facts, **_layouts(module, images)}
    if is_int8:
        exported = _quantised(exported, images, calibration)
        constants |= _with_integer_ends(exported, module, images)
    edge = exir.to_edge_transform_and_lower(
        exported,
        partitioner=[partition.XnnpackPartitioner()],
        compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
        constant_methods=constants,
    )
    # Inputs stay in the caller's memory, or a run could overwrite what the next one reads.
    planning = exir.passes.MemoryPlanningPass(alloc_graph_input=False)
    config = exir.ExecutorchBackendConfig(memory_planning_pass=planning)
    return bytes(edge.to_executorch(config).buffer)


def _layouts(module: nn.Module, images: Tensor) -> dict[str, Any]:
    """Return what a session must know of the order in memory; the file has no other place."""
    is_nhwc = not takes_floats(images)
    return {"input_is_nhwc": is_nhwc, "output_is_nhwc": is_nhwc and not gives_floats(module)}


def _quantised(exported: Any, images: Tensor, calibration: Tensor | None) -> Any:
    """Return the program in 8 bits as ExecuTorch's documentation does it: static, per channel."""
    pt2e = require("torchao.quantization.pt2e.quantize_pt2e", EXTRA)
    prepared = pt2e.prepare_pt2e(exported.module(), _quantizer())
    torch.manual_seed(0)
    if calibration is None:
        batches = (images, *(torch.randn_like(images) for _ in range(3)))
    else:
        batches = torch.split(calibration, len(images))
    results = [prepared(batch) for batch in batches]
    converted = pt2e.convert_pt2e(prepared)
    if not _gives_integers(converted):
        converted = _Rounded(converted, torch.stack(results))
    return torch.export.export(converted, (images,))


def _quantizer() -> Any:
    """Return XNNPACK's quantizer for modules without batch-norms."""
    module = require("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", EXTRA)
    base: Any = module.XNNPACKQuantizer
    pt2e = importlib.import_module("torchao.quantization.pt2e.quantizer")

    class Quantizer(base):  # type: ignore[misc]
        # Looking for batch-norms takes seconds.
        SUPPORTED_PATTERNS = tuple(
            pattern
            for pattern in base.SUPPORTED_PATTERNS
            if "bn" not in pattern.name and "transpose" not in pattern.name
        )

        def annotate(self, model: Any) -> Any:
            """Treat a mean as it treats the pool that the mean stands for."""
            for node in model.graph.nodes:
                if node.target == torch.ops.aten.mean.dim:
                    source = node.args[0]
                    node.meta["quantization_annotation"] = pt2e.QuantizationAnnotation(
                        input_qspec_map={source: self.global_config.input_activation},
                        output_qspec=pt2e.SharedQuantizationSpec((source, node)),
                        _annotated=True,
                    )
            return super().annotate(model)

    quantizer = Quantizer()
    quantizer.set_global(module.get_symmetric_quantization_config(is_per_channel=True))
    return quantizer


def _gives_integers(converted: Any) -> bool:
    """Tell whether the last operator of a quantised graph turns integers into its floats."""
    last = converted.graph.output_node().args[0]
    last = last[0] if isinstance(last, (list, tuple)) else last
    return "dequantize" in str(last.target)


class _Rounded(nn.Module):
    """A layer that ends in floats, such as h-swish, with the numbers that the next one takes."""

    def __init__(self, inner: nn.Module, results: Tensor) -> None:
        super().__init__()
        self._inner = inner
        low, high = min(float(results.min()), 0.0), max(float(results.max()), 0.0)
        scale = (high - low) / 255 or 1.0
        zero_point = min(max(round(-128 - low / scale), -128), 127)
        self._numbers = (scale, zero_point, -128, 127, torch.int8)

    def forward(self, x: Tensor) -> Tensor:
        operators = torch.ops.quantized_decomposed
        integers = operators.quantize_per_tensor(self._inner(x), *self._numbers)
        result: Tensor = operators.dequantize_per_tensor(integers, *self._numbers)
        return result


def _with_integer_ends(exported: Any, module: nn.Module, images: Tensor) -> dict[str, Any]:
    """Take the conversions off the ends of a layer; return what a session must know of them."""
    ends = require("executorch.exir.passes.quantize_io_pass", EXTRA)
    constants: dict[str, Any] = {}
    if not takes_floats(images):
        scale, zero_point, *_ = ends.quantize_input(exported, 0)
        constants |= {"input_scale": float(scale), "input_zero_point": int(zero_point)}
    if not gives_floats(module):
        scale, zero_point, *_ = ends.quantize_output(exported, 0)
        constants |= {"output_scale": float(scale), "output_zero_point": int(zero_point)}
    return constants


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore what the packages warn of each other, and leave torch's random numbers alone."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
