"""Write LiteRT's files (.tflite).

Why not litert-torch: it needs 1 to 2 s a layer and 25 s a network, and some hundred packages. This
writes the same operators in milliseconds. Images and results are NHWC.
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
from nas.latency.runtimes.litert_file import File
from nas.latency.runtimes.quantisation import activation_scale, int8_weight, int32_bias

_ACTS = {"": 0, "relu": 1, "relu6": 3}
_SAME, _VALID = 0, 1


def litert_model(
    module: nn.Module,
    images: Tensor,
    dtype: str,
    calibration: Tensor | None = None,
    facts: Mapping[str, str] | None = None,
) -> bytes:
    """Return the LiteRT model of a module in eval mode, for one shape of images."""
    is_int8 = dtype == "int8"
    if is_int8:
        steps = steps_of(module, images, calibration=calibration)
    else:
        steps = steps_of(module, images, n_noise=0)  # floats need no ranges
    steps = _with_gates(steps)
    writer = _Writer(steps, is_int8=is_int8)
    writer.begin(steps[0], is_float=takes_floats(images))
    for step in steps[1:]:
        writer.write(step)
    return writer.end(steps[-1], facts or {}, is_float=gives_floats(module))


def _with_gates(steps: Sequence[Step]) -> list[Step]:
    """Return the steps with each hard sigmoid of a convolution as relu6(convolution + 3) / 6."""
    found = {step.name: step for step in steps}
    for step in steps:
        if step.kind == "hsigmoid":
            source = found[step.inputs[0]]
            low, high = (min(max(x + 3, 0.0), 6.0) for x in (source.low, source.high))
            found[source.name] = replace(
                source, act="relu6", bias=source.bias + np.float32(3), low=low, high=high
            )
    return list(found.values())


class _Writer:
    """A file while it is written; every step becomes one operator, or two."""

    def __init__(self, steps: Sequence[Step], *, is_int8: bool) -> None:
        schema = require("ai_edge_litert.schema_py_generated", "litert")
        self._file = File(schema)
        self._schema = schema
        self._is_int8 = is_int8
        self._steps = {step.name: step for step in steps}
        self._tensors: dict[str, int] = {}
        self._flattened = {step.inputs[0] for step in steps if step.kind == "flatten"}

    def begin(self, step: Step, *, is_float: bool) -> None:
        """Write the input."""
        self._tensors[step.name] = self._activation(step)
        self._file.inputs = [self._tensors[step.name]]
        if self._is_int8 and is_float:
            self._file.inputs = [self._file.tensor("float_input", _nhwc(step.shape), "FLOAT32")]
            self._file.operator("QUANTIZE", self._file.inputs, self._tensors[step.name])

    def end(self, step: Step, facts: Mapping[str, str], *, is_float: bool) -> bytes:
        """Write the output and the facts, and return the file."""
        output = self._tensors[step.name]
        if self._is_int8 and is_float:
            result = self._file.tensor("float_output", _nhwc(step.shape), "FLOAT32")
            self._file.operator("DEQUANTIZE", [output], result)
            output = result
        for name, text in facts.items():
            self._file.fact(name, text)
        return self._file.content(output)

    def write(self, step: Step) -> None:
        """Write a step."""
        inputs = [self._tensors[name] for name in step.inputs]
        if step.kind == "flatten":
            self._tensors[step.name] = inputs[0]
            return
        options: dict[str, Any] = {}
        kind = _KINDS.get(step.kind, "")
        if step.kind == "conv":
            kind = "DEPTHWISE_CONV_2D" if step.groups > 1 else "CONV_2D"
            padding, inputs = self._padded(step, inputs)
            options = {"padding": padding, "strideH": step.stride, "strideW": step.stride}
            options |= {"dilationHFactor": 1, "dilationWFactor": 1}
            options |= {"depthMultiplier": 1} if step.groups > 1 else {}
        if step.kind in ("conv", "linear"):
            inputs += self._weights(step)
            options["fusedActivationFunction"] = _ACTS[step.act]
        if step.kind == "pool":
            inputs += [self._file.constant(f"{step.name}.axes", np.array([1, 2], np.int32))]
            options = {"keepDims": step.name not in self._flattened}
        if step.kind == "hsigmoid":
            inputs += [self._sixth(step)]
        self._tensors[step.name] = self._activation(step)
        self._file.operator(kind, inputs, self._tensors[step.name], options)

    def _activation(self, step: Step) -> int:
        shape = _nhwc(step.shape)
        if step.name in self._flattened:
            shape = (shape[0], shape[-1])
        if not self._is_int8:
            return self._file.tensor(step.name, shape, "FLOAT32")
        scale = activation_scale(step, "int8")
        return self._file.tensor(
            step.name, shape, "INT8", np.array([scale.scale], np.float32), scale.zero_point
        )

    def _padded(self, step: Step, inputs: list[int]) -> tuple[int, list[int]]:
        """Return how a convolution pads, after an operator that does where `SAME` does not.

        LiteRT's `SAME` pads stride 2 on an even size at the end alone; torch pads both sides.
        """
        source = self._steps[step.inputs[0]]
        size, kernel, pad = source.shape[2], step.weight.shape[2], step.padding
        if not pad:
            return _VALID, inputs
        if (-(-size // step.stride) - 1) * step.stride + kernel - size == 2 * pad:
            return _SAME, inputs
        number, channels, height, width = source.shape
        larger = replace(
            source,
            name=f"{step.name}.pad",
            shape=(number, channels, height + 2 * pad, width + 2 * pad),
        )
        pads = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
        padded = self._activation(larger)
        constant = self._file.constant(f"{step.name}.pads", pads)
        self._file.operator("PAD", [*inputs, constant], padded)
        return _VALID, [padded]

    def _weights(self, step: Step) -> list[int]:
        names = [f"{step.name}.weight", f"{step.name}.bias"]
        if not self._is_int8:
            weight = _laid(step, step.weight)
            return [
                self._file.constant(name, array)
                for name, array in zip(names, (weight, step.bias), strict=True)
            ]
        integers, scales = int8_weight(step.weight, 8)
        axis = 3 if step.groups > 1 else 0
        bias_scales = scales * np.float32(self._input_scale(step))
        return [
            self._file.constant(names[0], _laid(step, integers), scales, axis),
            self._file.constant(names[1], int32_bias(step.bias, bias_scales), bias_scales, 0),
        ]

    def _input_scale(self, step: Step) -> float:
        return activation_scale(self._steps[step.inputs[0]], "int8").scale

    def _sixth(self, step: Step) -> int:
        name = f"{step.name}.sixth"
        if not self._is_int8:
            return self._file.constant(name, np.array(1 / 6, np.float32))
        scales = np.array([1 / 6 / 127], np.float32)
        return self._file.constant(name, np.array(127, np.int8), scales, 0)


def _nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _laid(step: Step, weight: NDArray[Any]) -> NDArray[Any]:
    """Return a weight in LiteRT's order: (out, h, w, in), or (1, h, w, channels) if depthwise."""
    if step.kind == "linear":
        return weight
    return np.ascontiguousarray(
        np.moveaxis(weight, 1, 3) if step.groups == 1 else np.moveaxis(weight, 0, 3)
    )


_KINDS = {
    "linear": "FULLY_CONNECTED",
    "add": "ADD",
    "mul": "MUL",
    "hsigmoid": "MUL",
    "pool": "MEAN",
    "hswish": "HARD_SWISH",
    "relu": "RELU",
    "relu6": "RELU6",
}
