"""The built modules: names, shapes, and what each block computes."""

import hashlib

import pytest
import torch
from torch import Tensor, nn

from nas.arch import ACT_WORDS, Arch, Layer
from nas.errors import NasError
from nas.network.blocks import Head, MBConv, SqueezeExcite, activation
from nas.network.build import build, build_layer
from nas.paths import names
from nas.space import SearchSpace

BASELINES = names("search_spaces/baselines", ".yaml")
SPACES = names("search_spaces", ".yaml")
OPS = (
    "conv k3 3>16 s2 hs @32",
    "conv k1 16>8 s1 none @7",
    "sep k3 16>24 s2 r6 @16",
    "sep k5 16>16 s1 re @15",
    "mb k3 16>16>24 s1 re @16",
    "mb k5 16>48>16 s1 hs @15",
    "mb k5 16>48>24 s2 se8 hs @15",
    "mb k3 16>48>16 s1 se8 nores r6 @16",
    "mb k3 16>48>16 s1 re nonlinear @16",
    "mb k7 16>48>16 s4 se8 none @17",
    "mb k3 16>16>16 s1 se8 seexp re @9",
    "mb k5 16>48>24 s2 se8 seproj hs @15",
    "head 16>10 @7",
    "head 16>32>10 hs @7",
    "head 16>32>10 none @1",
)


def block(line: str) -> MBConv:
    module = build_layer(Layer.parse(line))
    assert isinstance(module, MBConv)
    return module.eval()


def norms_away_from_identity(module: nn.Module) -> None:
    """Give every batch-norm statistics of its own, as after training."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)


@pytest.mark.parametrize("line", OPS)
def test_every_op_gives_its_size(line: str) -> None:
    layer = Layer.parse(line)
    module = build_layer(layer).eval()
    shape = (2, layer.in_channels, layer.size, layer.size)
    output: Tensor = module(torch.randn(shape))
    wide = (layer.out_size, layer.out_size) if layer.op != "head" else ()
    assert output.shape == (2, layer.out_channels, *wide)
    assert output.isfinite().all()


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("resolution", [33, 64])
def test_baselines_run_layer_by_layer_at_their_sizes(name: str, resolution: int) -> None:
    arch = Arch.load(name).scaled(0.25, resolution)
    images: Tensor = torch.randn(1, 3, resolution, resolution)
    network = build(arch).eval()
    with torch.no_grad():
        logits = network(images)
        for layer, module in zip(arch.layers, network.layers, strict=True):
            assert images.shape[1:] == (layer.in_channels, layer.size, layer.size)
            images = module(images)
    assert logits.shape == (1, 1000)
    assert torch.equal(logits, images)


@pytest.mark.parametrize("name", BASELINES)
def test_outputs_neither_vanish_nor_explode(name: str) -> None:
    torch.manual_seed(0)
    network = build(Arch.load(name).scaled(0.25, 64)).train()
    logits: Tensor = network(torch.randn(4, 3, 64, 64))
    assert logits.isfinite().all()
    assert 1e-4 < logits.std().item() < 100


def test_state_dict_keys_are_stable() -> None:
    with torch.device("meta"):
        keys = list(build(Arch.load("mobilenet_v3_small")).state_dict())
    for key in (
        "layers.0.conv.weight",
        "layers.0.norm.running_var",
        "layers.1.body.depthwise.conv.weight",
        "layers.1.body.se.reduce.bias",
        "layers.2.body.expand.norm.bias",
        "layers.11.body.project.conv.weight",
        "layers.12.conv.weight",
        "layers.13.hidden.weight",
        "layers.13.classifier.bias",
    ):
        assert key in keys
    assert len(keys) == 244
    assert hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16] == "bb3179c1f898f427"


def test_separable_keys_are_stable() -> None:
    keys = build_layer(Layer.parse("sep k3 8>16 s1 re @8")).state_dict()
    assert "depthwise.conv.weight" in keys
    assert "pointwise.norm.weight" in keys


def test_residual_adds_the_input() -> None:
    with_shortcut = block("mb k3 8>24>8 s1 re @9")
    without = block("mb k3 8>24>8 s1 nores re @9")
    without.load_state_dict(with_shortcut.state_dict())
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(with_shortcut(x), x + without(x))


@pytest.mark.parametrize("line", ["mb k3 8>24>8 s2 re @9", "mb k3 8>24>16 s1 re @9"])
def test_no_residual_where_shapes_differ(line: str) -> None:
    module = block(line)
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(module(x), module.body(x))


def test_squeeze_excite_by_hand() -> None:
    module = SqueezeExcite(6, 2)
    x = torch.randn(3, 6, 5, 5)
    reduce, expand = module.reduce, module.expand
    assert reduce.bias is not None
    assert expand.bias is not None
    squeezed = (x.mean((2, 3)) @ reduce.weight[:, :, 0, 0].T + reduce.bias).clamp(min=0)
    signal = squeezed @ expand.weight[:, :, 0, 0].T + expand.bias
    gate = (signal + 3).clamp(0, 6) / 6
    torch.testing.assert_close(module(x), x * gate[:, :, None, None])


def test_squeeze_excite_lies_between_depthwise_and_projection() -> None:
    parts = [name for name, _ in block("mb k3 8>24>8 s1 se8 re @9").body.named_children()]
    assert parts == ["expand", "depthwise", "se", "project"]


def test_block_by_hand() -> None:
    module = block("mb k3 4>12>6 s2 hs @7")
    norms_away_from_identity(module)
    x = y = torch.randn(1, 4, 7, 7)
    steps = (("expand", 1, 0, 1), ("depthwise", 2, 1, 12), ("project", 1, 0, 1))
    for name, stride, padding, groups in steps:
        state = {
            key: value
            for key, value in module.state_dict().items()
            if key.startswith(f"body.{name}.")
        }
        weight = state[f"body.{name}.conv.weight"]
        y = nn.functional.conv2d(y, weight, None, stride, padding, groups=groups)
        mean, var = (state[f"body.{name}.norm.running_{kind}"] for kind in ("mean", "var"))
        y = (y - mean[:, None, None]) / (var[:, None, None] + 1e-3).sqrt()
        if name != "project":
            y = y * (y + 3).clamp(0, 6) / 6
    torch.testing.assert_close(module(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("seexp", ["expand", "se", "depthwise", "project"]),
        ("seproj", ["expand", "depthwise", "project", "se"]),
    ],
)
def test_squeeze_excite_lies_elsewhere_when_told(word: str, names: list[str]) -> None:
    module = block(f"mb k3 8>24>8 s1 se8 {word} re @9")
    norms_away_from_identity(module)
    assert [name for name, _ in module.body.named_children()] == names
    x = torch.randn(2, 8, 9, 9)
    y = x
    for name in names:
        y = module.body.get_submodule(name)(y)
    torch.testing.assert_close(module(x), x + y)  # the addition is after the gate
    channels = module.body.get_parameter("se.reduce.weight").shape[1]
    assert channels == (24 if word == "seexp" else 8)


def test_bottleneck_is_linear_unless_told_otherwise() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 9, 9)
    assert (block("mb k3 8>24>16 s1 re @9")(x) < 0).any()
    assert not (block("mb k3 8>24>16 s1 re nonlinear @9")(x) < 0).any()


def test_first_block_of_mobilenet_v2_has_no_expansion() -> None:
    with torch.device("meta"):
        network = build(Arch.load("mobilenet_v2"))
    first, second = network.layers[1], network.layers[2]
    assert isinstance(first, MBConv)
    assert isinstance(second, MBConv)
    assert not hasattr(first.body, "expand")
    assert hasattr(second.body, "expand")


@pytest.mark.parametrize("act", ACT_WORDS)
def test_activations_by_hand(act: str) -> None:
    x = torch.linspace(-8, 8, 101)
    wanted = {
        "relu": x.clamp(min=0),
        "relu6": x.clamp(0, 6),
        "hswish": x * (x + 3).clamp(0, 6) / 6,
        "none": x,
    }[act]
    torch.testing.assert_close(activation(act)(x.clone()), wanted)


def test_batch_norm_is_the_papers() -> None:
    norms = [part for part in build(TINY).modules() if isinstance(part, nn.BatchNorm2d)]
    # arXiv:1905.02244, section 6.1.1: a decay of 0.99
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}


TINY = SearchSpace.load("tiny").random(0)


def test_dropout_is_before_the_classifier() -> None:
    head = build(TINY, dropout=0.5).layers[-1]
    assert isinstance(head, Head)
    assert [name for name, _ in head.named_children()][-2:] == ["dropout", "classifier"]
    assert [part.p for part in head.modules() if isinstance(part, nn.Dropout)] == [0.5]


def test_number_of_classes() -> None:
    images = torch.randn(2, 3, 32, 32)
    assert build(TINY).eval()(images).shape == (2, 10)
    assert build(TINY, num_classes=7).eval()(images).shape == (2, 7)
    with pytest.raises(NasError, match="num_classes must be an integer from 1"):
        build(TINY, num_classes=0)


@pytest.mark.parametrize("name", SPACES)
def test_gradients_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    arch = SearchSpace.load(name).random(1).scaled(resolution=32)
    network = build(arch, num_classes=5, dropout=0).train()
    loss: Tensor = nn.functional.cross_entropy(
        network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 3])
    )
    loss.backward()  # type: ignore[no-untyped-call]
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.isfinite().all(), key
    assert network.layers[0].get_parameter("conv.weight").grad.abs().sum() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SPACES)
def test_evaluation_is_deterministic_and_alone(name: str) -> None:
    arch = SearchSpace.load(name).random(2).scaled(resolution=32)
    network = build(arch).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        logits = network(images)
        assert torch.equal(network(images), logits)
        torch.testing.assert_close(network(images[:1]), logits[:1], rtol=1e-3, atol=1e-4)


def test_seed_decides_the_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build(TINY).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
