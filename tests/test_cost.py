"""Closed-form counts against published figures, hooks in the built modules, and a simulation."""

import csv
import operator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params, peak_memory_bytes
from nas.network.build import build, build_layer
from nas.ops import ops_of
from nas.paths import names
from nas.space import SearchSpace

BASELINES = names("search_spaces/baselines", ".yaml")
SPACES = names("search_spaces", ".yaml")
META = torch.device("meta")
SHAPE_KEEPING = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Dropout)
DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("mobilenet_v3_large", 216_589_760, 5_483_032),
        ("mobilenet_v3_small", 56_510_400, 2_542_856),
        ("mobilenet_v3_large_minimalistic", 209_136_704, 3_924_288),
        ("mobilenet_v3_small_minimalistic", 52_288_448, 2_044_736),
        ("mobilenet_v2", 300_774_272, 3_504_872),
        ("mobilenet_v1", 568_740_352, 4_231_976),
        ("conv_mobilenet", 4_867_293_184, 29_294_088),
        ("shallow_mobilenet", 307_323_392, 2_887_976),
        ("mnasnet_a1", 311_579_072, 3_887_038),
        ("mnasnet_b1", 314_415_872, 4_383_312),
        ("mnasnet_small", 68_339_184, 2_030_264),
    ],
)
def test_baselines_are_pinned(name: str, macs: int, params: int) -> None:
    assert (count_macs(Arch.load(name)), count_params(Arch.load(name))) == (macs, params)


@pytest.mark.parametrize(
    ("name", "macs_m", "params_m"),
    [
        ("mobilenet_v3_large", 216.59, 5.48),
        ("mobilenet_v3_small", 56.51, 2.54),
        ("mobilenet_v2", 300.77, 3.50),
        ("mobilenet_v1", 569, 4.2),
        ("conv_mobilenet", 4866, 29.3),
        ("shallow_mobilenet", 307, 2.9),
        ("mnasnet_a1", 312, 3.9),
    ],
)
def test_baselines_are_as_published(name: str, macs_m: float, params_m: float) -> None:
    arch = Arch.load(name)
    macs = count_macs(arch)
    if name == "conv_mobilenet":
        macs -= count_macs(arch.layers[-1])  # arXiv:1704.04861, table 4, leaves the classifier out
    for count, figure in ((macs, macs_m), (count_params(arch), params_m)):
        digits = len(str(figure).partition(".")[2])
        assert round(count / 1e6, digits) == figure


@pytest.mark.parametrize("size", ["large", "small"])
def test_rows_of_mobilenet_v3(size: str) -> None:
    path = DATA / f"mobilenetv3_{size}.csv"
    if not path.is_file():
        pytest.skip("the data set is not there")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    layers = Arch.load(f"mobilenet_v3_{size}").layers
    *blocks, _pool, hidden, classifier = rows
    for row, layer in zip(blocks, layers[:-1], strict=True):
        assert count_macs(layer) == int(row["madds"])
        assert count_params(layer) == int(row["params_with_bn_affine"])
        assert (layer.size, layer.out_size) == (int(row["h_in"]), int(row["h_out"]))
        assert layer.se == int(row["se_channels"] or 0)
        assert layer.act == {"HS": "hswish", "RE": "relu"}[row["nl"]]
    ends = (hidden, classifier)
    assert count_macs(layers[-1]) == sum(int(row["madds"]) for row in ends)
    assert count_params(layers[-1]) == sum(int(row["params_with_bn_affine"]) for row in ends)


def keep_shapes_only(module: nn.Module) -> None:
    """Take out what keeps a shape: on tensors without data it is slow, and counts nothing."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SHAPE_KEEPING):
                setattr(parent, name, nn.Identity())


def hooked_macs(module: nn.Module, layer: Layer) -> int:
    """Return the multiply-adds of the convolutions and linear maps that a forward pass calls."""
    counted: list[int] = []

    def count(part: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(part, (nn.Conv2d, nn.Linear))
        counted.append(output.numel() * part.weight[0].numel())

    hooks = [
        part.register_forward_hook(count)
        for part in module.modules()
        if isinstance(part, (nn.Conv2d, nn.Linear))
    ]
    keep_shapes_only(module)
    with torch.no_grad():
        module.eval()(torch.empty(1, layer.in_channels, layer.size, layer.size, device=META))
    for hook in hooks:
        hook.remove()
    return sum(counted)


@cache
def hooked(layer: Layer) -> tuple[int, int]:
    """Return the multiply-adds and parameters of a layer's module."""
    with META:
        module = build_layer(layer)
    params = sum(weight.numel() for weight in module.parameters())
    return hooked_macs(module, layer), params


def check_whole(arch: Arch) -> None:
    with META:
        network = build(arch)
    assert sum(weight.numel() for weight in network.parameters()) == count_params(arch)
    assert hooked_macs(network, arch.layers[0]) == count_macs(arch)


@pytest.mark.parametrize("width", [1.0, 0.35])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_count_as_built(name: str, width: float) -> None:
    check_whole(Arch.load(name).scaled(width))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_random_networks_count_as_their_layers_built(name: str) -> None:
    space = SearchSpace.load(name)
    for seed in range(200):
        arch = space.random(seed)
        macs, params = zip(*map(hooked, arch.layers), strict=True)
        assert (sum(macs), sum(params)) == (count_macs(arch), count_params(arch))


@pytest.mark.parametrize("name", SPACES)
def test_random_networks_count_as_built(name: str) -> None:
    for seed in range(3):
        check_whole(SearchSpace.load(name).random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_many_random_networks_count_as_built(name: str) -> None:
    for seed in range(3, 30):
        check_whole(SearchSpace.load(name).random(seed))


NEW_MEMORY = (nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d)


class _Liveness(fx.Interpreter):
    """Runs a traced module and notes which memory each step reads and writes.

    Convolutions, linear maps and pools write to new memory; everything else works in place, the
    addition on the branch and the gate on the gated map.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(fx.symbolic_trace(module))
        self.parts = dict(self.module.named_modules())
        self.elements: dict[fx.Node, int] = {}
        self.owner: dict[fx.Node, fx.Node] = {}
        self.used: list[list[fx.Node]] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "output":
            return result
        inputs = n.all_input_nodes
        is_new = n.op == "placeholder" or (
            n.op == "call_module" and isinstance(self.parts[str(n.target)], NEW_MEMORY)
        )
        # x + y writes to y, x * gate writes to x.
        kept = inputs[-1] if n.target is operator.add else inputs[0] if inputs else n
        self.owner[n] = n if is_new else self.owner[kept]
        self.elements[n] = result.numel()
        self.used.append([self.owner[n], *(self.owner[node] for node in inputs)])
        return result

    def peak_elements(self) -> int:
        """Return the most elements alive at a step, memory living from first to last use."""
        first: dict[fx.Node, int] = {}
        last: dict[fx.Node, int] = {}
        for step, owners in enumerate(self.used):
            for owner in owners:
                first.setdefault(owner, step)
                last[owner] = step
        return max(
            sum(self.elements[owner] for owner in first if first[owner] <= step <= last[owner])
            for step in range(len(self.used))
        )


def simulated_peak(arch: Arch) -> int:
    with META:
        network = build(arch)
    keep_shapes_only(network)
    liveness = _Liveness(network.eval())
    first = arch.layers[0]
    with torch.no_grad():
        liveness.run(torch.empty(1, first.in_channels, first.size, first.size, device=META))
    return 4 * liveness.peak_elements()


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_peak_memory_of_baselines_as_simulated(name: str) -> None:
    for width, resolution in ((1.0, 224), (0.5, 97)):
        arch = Arch.load(name).scaled(width, resolution)
        assert peak_memory_bytes(arch) == simulated_peak(arch)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.slow
def test_peak_memory_of_random_networks_as_simulated(name: str) -> None:
    for seed in range(3):
        arch = SearchSpace.load(name).random(seed)
        assert peak_memory_bytes(arch) == simulated_peak(arch)


@pytest.mark.parametrize(
    ("line", "elements"),
    [
        ("conv k3 3>16 s2 re @32", 3 * 32**2 + 16 * 16**2),
        ("mb k3 8>32>8 s1 re @16", (8 + 32 + 32) * 16**2),  # the shortcut waits
        ("mb k3 8>32>8 s1 nores re @16", (32 + 32) * 16**2),
        ("mb k3 8>8>8 s1 re @16", (8 + 8 + 8) * 16**2),  # input, middle and output
        ("mb k3 8>32>64 s2 re @16", 32 * 16**2 + 8 * 16**2),  # the expansion
        ("mb k3 4>4>16 s1 se400 re @2", 4 * 2**2 + 4 + 400),  # the map waits for its gate
        ("mb k3 8>8>64 s1 se400 seproj re @4", 64 * 4**2 + 64 + 400),
        ("mb k3 4>64>4 s2 se400 seexp re @4", 64 * 4**2 + 64 + 400),
        ("head 64>128>10 re @4", 64 * 4**2 + 64),
    ],
)
def test_peak_memory_by_hand(line: str, elements: int) -> None:
    assert peak_memory_bytes(Layer.parse(line)) == 4 * elements
    assert peak_memory_bytes(Layer.parse(line), bytes_per_value=1) == elements


def test_primitives_of_a_block_by_hand() -> None:
    ops = ops_of(Layer.parse("mb k5 16>64>16 s1 se8 hs @14"))
    assert [(op.kind, op.act) for op in ops] == [
        ("conv", "hswish"),
        ("depthwise", "hswish"),
        ("pool", "none"),
        ("linear", "relu"),
        ("linear", "hsigmoid"),
        ("gate", "none"),
        ("conv", "none"),
        ("add", "none"),
    ]
    assert [op.macs for op in ops] == [
        14**2 * 16 * 64,
        14**2 * 25 * 64,
        0,
        64 * 8,
        8 * 64,
        0,
        14**2 * 64 * 16,
        0,
    ]
    assert (
        sum(op.params for op in ops)
        == count_params(Layer.parse("mb k5 16>64>16 s1 se8 hs @14"))
        == (16 * 64 + 128) + (25 * 64 + 128) + (64 * 8 + 8) + (8 * 64 + 64) + (64 * 16 + 32)
    )
