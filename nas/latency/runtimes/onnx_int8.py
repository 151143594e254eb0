"""Write 8-bit ONNX as `onnxruntime.quantization.quantize_static` does, in milliseconds.

The graph is in float, and QuantizeLinear and DequantizeLinear around each step tell ONNX Runtime
to run it in integers (the QDQ form, which its documentation advises). Which steps that is, is what
`quantize_static` chooses: all but the hard sigmoid, which has no 8-bit kernel and stays in float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.extras import require
from nas.latency.runtimes.contract import gives_floats, takes_floats
from nas.latency.runtimes.graph import Step, steps_of
from nas.latency.runtimes.onnx_graph import IR_VERSION, OPSET
from nas.latency.runtimes.quantisation import activation_scale, int8_weight, int32_bias

MODES = {"u8s8": ("uint8", 7), "s8s8": ("int8", 8)}
"""Types of activations and bits of weights.

x86 before VNNI sums pairs of u8 x s8 products in 16 bits, which weights of 8 bits overflow: one
bit less (`reduce_range`) costs accuracy but no time. ARM has the kernels for s8 x s8.
"""
_KINDS = {"conv": "Conv", "linear": "Gemm", "pool": "GlobalAveragePool", "flatten": "Flatten"}
_KINDS |= {"add": "Add", "mul": "Mul", "hsigmoid": "HardSigmoid", "relu": "Relu", "relu6": "Relu"}


def onnx_int8_model(
    module: nn.Module,
    images: Tensor,
    mode: str,
    calibration: Tensor | None = None,
    facts: Mapping[str, str] | None = None,
) -> bytes:
    """Return the 8-bit ONNX model of a module in eval mode, for one shape of images."""
    steps = _with_gates(steps_of(module, images, calibration=calibration))
    writer = _Writer(steps, *MODES[mode])
    writer.begin(steps[0], is_float=takes_floats(images))
    for step in steps[1:]:
        writer.write(step)
    return writer.end(steps[-1], facts or {}, is_float=gives_floats(module))


def _with_gates(steps: list[Step]) -> list[Step]:
    """Return the steps with each h-swish as ONNX Runtime reads it: x times its hard sigmoid."""
    ranges = {step.name: (step.low, step.high) for step in steps}
    found = []
    for step in steps:
        if step.kind == "hswish":
            low, high = (min(max(x / 6 + 0.5, 0.0), 1.0) for x in ranges[step.inputs[0]])
            gate = replace(step, kind="hsigmoid", name=f"{step.name}.gate", low=low, high=high)
            found.append(gate)
            step = replace(step, kind="mul", inputs=(step.inputs[0], gate.name))
        found.append(step)
    return found


class _Writer:
    """The nodes and constants of a model while it is written.

    A tensor `x` of the graph is in float; `x.q` is the same in integers.
    """

    def __init__(self, steps: Sequence[Step], dtype: str, bits: int) -> None:
        self._onnx = require("onnx", "latency")
        self._steps = {step.name: step for step in steps}
        self._bits = bits
        self._scales = {step.name: activation_scale(step, dtype) for step in steps}
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._metadata: dict[str, str] = {}
        self._constants: list[Any] = []
        # A flattened pool has the pool's numbers: with its scale, the step costs nothing.
        for step in steps:
            if step.kind == "flatten":
                self._scales[step.name] = self._scales[step.inputs[0]]
            scale = self._scales[step.name]
            self._constant(f"{step.name}.scale", np.array(scale.scale, np.float32))
            self._constant(f"{step.name}.zero", np.array(scale.zero_point, dtype))

    def begin(self, step: Step, *, is_float: bool) -> None:
        """Write the input: NCHW floats, or integers in NHWC, as ONNX Runtime keeps them inside."""
        self._inputs = [self._border("input", step, is_float)]
        if is_float:
            self._quantise(step.name, "input")
        else:
            self._add("Transpose", ["input"], f"{step.name}.q", perm=[0, 3, 1, 2])
        self._dequantise(step.name)

    def end(self, step: Step, facts: Mapping[str, str], *, is_float: bool) -> bytes:
        """Write the output and the facts, and return the file."""
        if is_float:
            self._nodes[-1].output[0] = "output"
        else:
            self._nodes.pop()
            self._add("Transpose", [f"{step.name}.q"], "output", perm=[0, 2, 3, 1])
        outputs = [self._border("output", step, is_float)]
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, "block", self._inputs, outputs, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        helper.set_model_props(model, {**facts, **self._metadata})
        content: bytes = model.SerializeToString()
        return content

    def _border(self, name: str, step: Step, is_float: bool) -> Any:
        helper, types = self._onnx.helper, self._onnx.TensorProto
        if is_float:
            return helper.make_tensor_value_info(name, types.FLOAT, step.shape)
        scale = self._scales[step.name]
        number, channels, *size = step.shape
        self._metadata |= {
            f"{name}_layout": "NHWC",
            f"{name}_scale": repr(scale.scale),
            f"{name}_zero_point": str(scale.zero_point),
        }
        kind = {"uint8": types.UINT8, "int8": types.INT8}[scale.dtype]
        return helper.make_tensor_value_info(name, kind, (number, *size, channels))

    def write(self, step: Step) -> None:
        """Write a step between its dequantised inputs and its quantised output."""
        attributes: dict[str, Any] = {}
        inputs = list(step.inputs)
        if step.kind in ("conv", "linear"):
            inputs += self._weights(step)
        if step.kind == "conv":
            attributes = {
                "group": step.groups,
                "kernel_shape": list(step.weight.shape[2:]),
                "strides": [step.stride] * 2,
                "pads": [step.padding] * 4,
            }
        if step.kind == "linear":
            attributes = {"transB": 1}
        if step.kind == "hsigmoid":
            attributes = {"alpha": 1 / 6, "beta": 0.5}
        # A ReLU at the end is not written: the output's range, which begins at 0, does the same.
        self._add(_KINDS[step.kind], inputs, f"{step.name}.raw", **attributes)
        self._quantise(step.name, f"{step.name}.raw")
        self._dequantise(step.name)

    def _quantise(self, name: str, source: str) -> None:
        self._add("QuantizeLinear", [source, *self._map(name)], f"{name}.q")

    def _dequantise(self, name: str) -> None:
        self._add("DequantizeLinear", [f"{name}.q", *self._map(name)], name)

    def _map(self, name: str) -> list[str]:
        return [f"{name}.scale", f"{name}.zero"]

    def _weights(self, step: Step) -> list[str]:
        weight, scales = int8_weight(step.weight, self._bits)
        bias_scales = scales * np.float32(self._scales[step.inputs[0]].scale)
        self._weight(f"{step.name}.weight", weight, scales)
        self._weight(f"{step.name}.bias", int32_bias(step.bias, bias_scales), bias_scales)
        return [f"{step.name}.weight", f"{step.name}.bias"]

    def _weight(self, name: str, integers: NDArray[Any], scales: NDArray[np.float32]) -> None:
        self._constant(f"{name}.q", integers)
        self._constant(f"{name}.scale", scales)
        self._constant(f"{name}.zero", np.zeros(len(scales), integers.dtype))
        self._add("DequantizeLinear", [f"{name}.{x}" for x in ("q", "scale", "zero")], name, axis=0)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))

    def _constant(self, name: str, array: Any) -> None:
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
