"""The container of LiteRT's files: tensors, constants and operators in one flatbuffer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.extras import require

_OPTIONS = {
    "ADD": "AddOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
}
_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "ADD": 2,
    "MUL": 2,
    "MEAN": 2,
    "PAD": 2,
    "RELU": 2,
    "RELU6": 2,
    "DEQUANTIZE": 2,
}
"""The first version of each operator that takes 8-bit integers; others have one version."""


class File:
    """A model with one graph while it is written; tensors are known by their number."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = "nas-cpu"
        self._model.operatorCodes = []
        self._model.buffers = [schema.BufferT()]
        self._graph = schema.SubGraphT()
        self._graph.tensors = []
        self._graph.operators = []
        self._model.subgraphs = [self._graph]
        self._codes: dict[str, int] = {}
        self.inputs: list[int] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scales: NDArray[np.float32] | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """Add a tensor; it holds integers that `scales` map where those are given."""
        tensor = self._schema.TensorT()
        tensor.name = name
        tensor.shape = np.array(shape, np.int32)
        tensor.type = getattr(self._schema.TensorType, dtype)
        tensor.buffer = 0
        if scales is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            tensor.quantization.quantizedDimension = axis
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(
        self,
        name: str,
        array: NDArray[Any],
        scales: NDArray[np.float32] | None = None,
        axis: int = 0,
    ) -> int:
        """Add a tensor that the file holds."""
        number = self.tensor(name, array.shape, array.dtype.name.upper(), scales, 0, axis)
        self._graph.tensors[number].buffer = len(self._model.buffers)
        self._model.buffers.append(_aligned_buffer(self._schema, array))
        return number

    def operator(
        self, kind: str, inputs: list[int], output: int, options: dict[str, Any] | None = None
    ) -> None:
        """Add an operator."""
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = inputs, [output]
        if kind in _OPTIONS:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, _OPTIONS[kind])
            operator.builtinOptions = getattr(self._schema, f"{_OPTIONS[kind]}T")()
            for name, value in (options or {}).items():
                setattr(operator.builtinOptions, name, value)
        self._graph.operators.append(operator)

    def fact(self, name: str, text: str) -> None:
        """Add a metadata buffer of text."""
        entry = self._schema.MetadataT()
        entry.name, entry.buffer = name, len(self._model.buffers)
        content = np.frombuffer(text.encode(), np.uint8)
        self._model.buffers.append(_aligned_buffer(self._schema, content))
        self._model.metadata = [*(self._model.metadata or []), entry]

    def content(self, output: int) -> bytes:
        """Return the file's bytes."""
        flatbuffers = require("flatbuffers", "litert")
        self._graph.inputs, self._graph.outputs = self.inputs, [output]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, kind: str) -> int:
        if kind not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = getattr(self._schema.BuiltinOperator, kind)
            # Readers of before 2020 look here; codes that do not fit a byte leave 127.
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = _VERSIONS.get(kind, 1)
            self._codes[kind] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[kind]


def _aligned_buffer(schema: Any, array: NDArray[Any]) -> Any:
    """Return a buffer of the schema that keeps its bytes at multiples of 16, as kernels need.

    The generated class forgets the `force_align` of the schema.
    """
    content = np.ascontiguousarray(array).tobytes()

    class Buffer(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> int:
            builder.StartVector(1, len(content), 16)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            number: int = schema.BufferEnd(builder)
            return number

    return Buffer()
