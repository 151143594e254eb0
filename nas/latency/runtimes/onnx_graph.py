"""Write the project's modules as ONNX.

Why not `torch.onnx.export`: it needs 1 to 4 s a layer, and a table has hundreds. This covers the
modules that `nas.network.blocks` is made of, in milliseconds; ONNX Runtime's optimiser makes the
same graph of both.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from nas.errors import NasError
from nas.extras import require

OPSET = 18
# The newest that onnxruntime 1.18 reads; newer onnx packages would write their own.
IR_VERSION = 9

Spec = tuple[str, Sequence[Tensor], dict[str, Any]]
"""ONNX operator, constant inputs after the variable ones, attributes."""


def onnx_model(module: nn.Module, images: Tensor, facts: Mapping[str, str] | None = None) -> bytes:
    """Return the ONNX model of a module in eval mode, for inputs of the shape of `images`.

    Its input is named `input`, its output `output`.

    Raises:
        NasError: it holds a part that has no ONNX form here, or onnx is not installed.
    """
    onnx = require("onnx", "latency")
    parts = dict(module.named_modules())
    with torch.inference_mode():
        results = module(images)
    nodes: list[Any] = []
    constants: list[Any] = []
    names: dict[fx.Node, str] = {}
    for node in fx.symbolic_trace(module).graph.nodes:
        names[node] = "input" if node.op == "placeholder" else node.name
        if node.op in ("placeholder", "output"):
            continue
        if isinstance(parts.get(str(node.target)), (nn.Dropout, nn.Identity)):
            names[node] = names[node.all_input_nodes[0]]
            continue
        kind, tensors, attributes = _spec_of(node, parts)
        inputs = [names[source] for source in node.all_input_nodes]
        for index, tensor in enumerate(tensors):
            array = tensor.detach().contiguous().numpy()
            inputs.append(f"{node.name}.{index}")
            constants.append(onnx.numpy_helper.from_array(array, inputs[-1]))
        nodes.append(onnx.helper.make_node(kind, inputs, [node.name], **attributes))
    nodes[-1].output[0] = "output"
    graph = onnx.helper.make_graph(
        nodes,
        type(module).__name__,
        [_value(onnx, "input", images)],
        [_value(onnx, "output", results)],
        constants,
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.helper.set_model_props(model, dict(facts or {}))
    content: bytes = model.SerializeToString()
    return content


def _value(onnx: Any, name: str, tensor: Tensor) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, tensor.shape)


def _spec_of(node: fx.Node, parts: dict[str, nn.Module]) -> Spec:
    if node.op == "call_function" and node.target in _FUNCTIONS:
        return _FUNCTIONS[node.target], (), {}
    part = parts.get(str(node.target)) if node.op == "call_module" else None
    if type(part) not in _SPECS:
        raise NasError(
            f"every part of a block must have an ONNX form, but {part or node.target} has none. "
            "Add it to nas/latency/runtimes/onnx_graph.py."
        )
    return _SPECS[type(part)](part)


def _conv(part: nn.Conv2d) -> Spec:
    attributes = {
        "group": part.groups,
        "kernel_shape": list(part.kernel_size),
        "strides": list(part.stride),
        "pads": [int(pad) for pad in part.padding] * 2,
    }
    return "Conv", (part.weight,) if part.bias is None else (part.weight, part.bias), attributes


def _norm(part: nn.BatchNorm2d) -> Spec:
    tensors = (part.weight, part.bias, part.running_mean, part.running_var)
    return "BatchNormalization", [t for t in tensors if t is not None], {"epsilon": part.eps}


def _relu6(part: nn.ReLU6) -> Spec:
    return "Clip", (Tensor([0.0]).squeeze(), Tensor([6.0]).squeeze()), {}


def _linear(part: nn.Linear) -> Spec:
    return "Gemm", (part.weight, part.bias), {"transB": 1}


def _plain(kind: str, **attributes: float) -> Callable[[nn.Module], Spec]:
    return lambda part: (kind, (), dict(attributes))


_FUNCTIONS = {operator.add: "Add", operator.mul: "Mul"}
_SPECS: dict[type, Callable[[Any], Spec]] = {
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _norm,
    nn.Linear: _linear,
    nn.ReLU: _plain("Relu"),
    nn.ReLU6: _relu6,
    nn.Hardswish: _plain("HardSwish"),
    nn.Hardsigmoid: _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    nn.AdaptiveAvgPool2d: _plain("GlobalAveragePool"),
    nn.Flatten: _plain("Flatten"),
}
