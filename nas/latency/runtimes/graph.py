"""A module as the steps that a converter keeps: batch-norms folded, activations fused.

Writers of formats read it, so that each only says how its format spells a step. The ranges that
8-bit formats need are those of the calibration images.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from nas.errors import NasError
from nas.latency.runtimes.ranges import Histogram

N_NOISE_IMAGES = 3
WATCHED_AT_ONCE = 32
"""Calibration images in one run: V3-Large's largest maps at 224 px then take 100 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation: `conv`, `linear`, `relu`, `relu6`, `hswish`, `hsigmoid`, `pool`, `flatten`,
    `add` or `mul`.

    `act` is `relu` or `relu6` where a conv or linear ends in it; `shape` is that of the output for
    one image, NCHW; `low` and `high` are its range. Weights are as torch lays them.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 0.0
    act: str = ""
    weight: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    bias: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    stride: int = 1
    padding: int = 0
    groups: int = 1


def steps_of(
    module: nn.Module,
    images: Tensor,
    *,
    n_noise: int = N_NOISE_IMAGES,
    calibration: Tensor | None = None,
) -> list[Step]:
    """Return the steps of a module in eval mode, the first an `input` without inputs.

    Ranges are those of least error on `calibration` (see `ranges`); without it they go from the
    least to the greatest value of `images` and of `n_noise` more, of noise.

    Raises:
        NasError: it holds a part that is none of the steps.
    """
    traced = fx.symbolic_trace(module)
    watched = _with_noise(images, n_noise) if calibration is None else calibration
    watch = _Watch(traced)
    watch.run_all(watched)
    ranges = watch.ranges
    if calibration is not None:
        count = _Count(traced, ranges)
        count.run_all(watched)
        ranges = {name: one.quietest() for name, one in count.histograms.items()}
    parts = dict(traced.named_modules())
    steps: dict[str, Step] = {}
    names: dict[str, str] = {}
    for node in traced.graph.nodes:
        if node.op == "output":
            continue
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        sources = [names[source.name] for source in node.all_input_nodes]
        last = steps[sources[0]] if sources else None
        is_last_read_once = bool(sources) and len(node.all_input_nodes[0].users) == 1
        if last and isinstance(part, (nn.Dropout, nn.Identity)):
            names[node.name] = last.name
            continue
        fused = _fused(last, part) if last and is_last_read_once else None
        if fused:
            name = fused.name
            step = fused
        else:
            name = node.name
            step = _step_of(node, part, tuple(sources))
        low, high = ranges[node.name]
        shape = (len(images), *watch.shapes[node.name][1:])
        steps[name] = replace(step, low=low, high=high, shape=shape)
        names[node.name] = name
    return list(steps.values())


def _with_noise(images: Tensor, n_noise: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.cat([images, torch.randn(n_noise, *images.shape[1:])])


def _fused(step: Step, part: object) -> Step | None:
    """Return the step that does what `step` and then `part` do, if there is one."""
    if step.kind == "conv" and isinstance(part, nn.BatchNorm2d) and not step.act:
        return _normed(step, part)
    if step.kind in ("conv", "linear") and not step.act:
        if isinstance(part, nn.ReLU):
            return replace(step, act="relu")
        if isinstance(part, nn.ReLU6):
            return replace(step, act="relu6")
    return None


def _normed(step: Step, norm: nn.BatchNorm2d) -> Step:
    """Return a convolution with the affine map of its batch-norm folded in."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise NasError("a batch-norm must keep statistics to be exported, but one has none.")
    scale = _array(norm.weight) / np.sqrt(_array(variance) + norm.eps)
    bias = _array(norm.bias) + (step.bias - _array(mean)) * scale
    weight = step.weight * scale[:, None, None, None]
    return replace(step, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _step_of(node: fx.Node, part: nn.Module | None, inputs: tuple[str, ...]) -> Step:
    if node.op == "placeholder":
        return Step(kind="input", name=node.name, inputs=())
    if node.op == "call_function" and node.target in _FUNCTIONS:
        return Step(kind=_FUNCTIONS[node.target], name=node.name, inputs=inputs)
    if isinstance(part, (nn.Conv2d, nn.Linear)):
        weight = _array(part.weight)
        bias = np.zeros(len(weight), np.float32) if part.bias is None else _array(part.bias)
        step = Step(kind="linear", name=node.name, inputs=inputs, weight=weight, bias=bias)
        if isinstance(part, nn.Linear):
            return step
        if part.dilation != (1, 1):
            raise NasError(
                "a convolution must have dilation 1 to be written here, but one has "
                f"{part.dilation}. Build the backbone without output_stride."
            )
        stride, padding = int(part.stride[0]), int(part.padding[0])
        return replace(step, kind="conv", stride=stride, padding=padding, groups=part.groups)
    for kind, name in _PLAIN.items():
        if type(part) is kind:
            return Step(kind=name, name=node.name, inputs=inputs)
    raise NasError(
        f"every part of a block must be a known step, but {part or node.target} is none. "
        "Add it to nas/latency/runtimes/graph.py."
    )


class _InParts(fx.Interpreter):
    """Run a module on many images, a few at once."""

    def run_all(self, images: Tensor) -> None:
        with torch.inference_mode():
            for batch in torch.split(images, WATCHED_AT_ONCE):
                self.run(batch)


class _Watch(_InParts):
    """Run a module, noting the least and greatest value of every node over all runs."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.ranges: dict[str, tuple[float, float]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        low, high = map(float, torch.aminmax(result))
        least, most = self.ranges.get(n.name, (low, high))
        self.ranges[n.name] = (min(low, least), max(high, most))
        self.shapes[n.name] = tuple(result.shape)
        return result


class _Count(_InParts):
    """Run a module, counting how the values of every node lie in its range."""

    def __init__(self, module: fx.GraphModule, ranges: Mapping[str, tuple[float, float]]) -> None:
        super().__init__(module)
        self.histograms = {name: Histogram(*one) for name, one in ranges.items()}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.histograms[n.name].add(result)
        return result


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)


_FUNCTIONS: dict[Any, str] = {operator.add: "add", operator.mul: "mul"}
_PLAIN: dict[type, str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hswish",
    nn.Hardsigmoid: "hsigmoid",
    nn.AdaptiveAvgPool2d: "pool",
    nn.Flatten: "flatten",
}
