"""Backbones: maps against the network's own layers, counts against hooks, errors by their text."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.arch import Arch, Layer
from nas.backbone import Backbone, reduced_tail, stage_ends
from nas.cost import count_params
from nas.errors import NasError
from nas.latency.runtimes.graph import steps_of
from nas.network.blocks import MBConv
from nas.network.build import Network, build
from nas.network.checkpoint import Checkpoint
from nas.network.depthwise import QuickDepthwise, quicken
from nas.paths import names
from nas.space import SearchSpace

BASELINES = names("search_spaces/baselines", ".yaml")
SPACES = [f"space {name}" for name in names("search_spaces", ".yaml")]
META = torch.device("meta")


def small(name: str) -> Arch:
    """Return the baseline of that name, or a network of that space, a quarter as wide."""
    space = name.removeprefix("space ")
    arch = Arch.load(name) if space == name else SearchSpace.load(space).random(3)
    return arch.scaled(0.25)


def last_maps(network: Network, images: Tensor) -> dict[int, Tensor]:
    """Return the last map of each height that the network's layers pass through."""
    found = {}
    for layer in list(network.layers)[:-1]:
        images = layer(images)
        found[images.shape[2]] = images
    return found


def checkpoint_of(arch: Arch) -> Checkpoint:
    weights = build(arch).state_dict()
    for name, one in weights.items():
        if name.endswith("running_var"):
            one.uniform_(0.5, 2)
    classes = tuple(map(str, range(arch.num_classes)))
    return Checkpoint(arch=arch, weights=weights, classes=classes, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BASELINES, *SPACES])
@torch.no_grad()
def test_maps_are_the_last_of_their_stride(name: str) -> None:
    checkpoint = checkpoint_of(small(name))
    strides = tuple(stage_ends(checkpoint.arch))
    features = checkpoint.features(strides)
    images = torch.randn(2, 3, 64, 64)
    maps = features(images)
    network = checkpoint.network()
    assert isinstance(maps, list)
    for stride, one in zip(strides, maps, strict=True):
        assert torch.equal(one, last_maps(network, images)[64 // stride])
    assert features.channels == tuple(one.shape[1] for one in maps)
    assert features.reductions == features.strides == strides
    torch.testing.assert_close(network.layers[-1](maps[-1]), network(images))


def test_strides_of_the_hand_designed_and_of_the_spaces() -> None:
    for name in BASELINES:
        assert tuple(stage_ends(Arch.load(name))) == (2, 4, 8, 16, 32)
        taps = Backbone.of(Arch.load(name)).taps
        assert [tap.stride for tap in taps] == [tap.reduction for tap in taps] == [4, 8, 16, 32]
    assert [tap.stride for tap in Backbone.of(SearchSpace.load("tiny").random(0)).taps] == [4, 8]


def test_channels_are_the_papers() -> None:
    # arXiv:1905.02244, table 1; arXiv:1801.04381, table 2; arXiv:1704.04861, table 1.
    published = {
        "mobilenet_v3_large": (24, 40, 112, 960),
        "mobilenet_v2": (24, 32, 96, 1280),
        "mobilenet_v1": (128, 256, 512, 1024),
    }
    for name, channels in published.items():
        with META:
            assert build(Arch.load(name), features_only=True).channels == channels


@pytest.mark.parametrize(
    ("name", "block", "channels"),
    [("mobilenet_v3_large", 13, 672), ("mobilenet_v3_small", 9, 288), ("mobilenet_v2", 14, 576)],
)
@torch.no_grad()
def test_c4_of_ssdlite_is_an_expansion(name: str, block: int, channels: int) -> None:
    # arXiv:1905.02244, section 6.3: the expansion of the 13th and of the 9th bottleneck block;
    # arXiv:1801.04381, section 6.2, of layer 15, where the first convolution is layer 1.
    assert Backbone.of(Arch.load(name), (16, 32), at_expansion=True).taps[0].channels == channels
    checkpoint = checkpoint_of(small(name))
    network = checkpoint.network()
    seen: list[Tensor] = []
    strided = network.layers[block]
    assert isinstance(strided, MBConv)
    strided.body.get_submodule("expand").register_forward_hook(lambda *call: seen.append(call[2]))
    images = torch.randn(1, 3, 70, 64)
    network(images)
    c4, c5 = checkpoint.features((16, 32), at_expansion=True)(images)
    assert torch.equal(c4, seen[0])
    assert torch.equal(c5, last_maps(network, images)[3])
    (alone,) = checkpoint.features((16,), at_expansion=True)(images)
    assert torch.equal(alone, seen[0])


def test_without_an_expansion_it_is_the_same_map() -> None:
    arch = Arch.load("mobilenet_v1")
    assert Backbone.of(arch, at_expansion=True) == Backbone.of(arch)


@pytest.mark.parametrize("output_stride", [1, 8, 16])
@pytest.mark.parametrize("size", [(64, 96), (65, 71)])
@torch.no_grad()
def test_an_output_stride_only_adds_pixels(output_stride: int, size: tuple[int, int]) -> None:
    # Without squeeze-and-excite, whose mean is over all pixels, the strided results are among them.
    if output_stride == 1:
        with pytest.raises(NasError, match="has no layer of output_stride=1"):
            Backbone.of(Arch.load("mobilenet_v2"), output_stride=1)
        return
    checkpoint = checkpoint_of(small("mobilenet_v2"))
    images = torch.randn(1, 3, *size)
    held = checkpoint.features(output_stride=output_stride)
    assert held.reductions == tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
    plain = checkpoint.features()(images)
    for dense, strided, stride in zip(held(images), plain, held.strides, strict=True):
        step = max(1, stride // output_stride)
        torch.testing.assert_close(dense[:, :, ::step, ::step], strided, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_quick_depthwise_leaves_spread_kernels() -> None:
    checkpoint = checkpoint_of(small("mobilenet_v3_large"))
    features = checkpoint.features(output_stride=8)
    images = torch.randn(1, 3, 64, 64)
    before = features(images)
    quicken(features)
    assert any(isinstance(part, QuickDepthwise) for part in features.modules())
    for one, other in zip(features(images), before, strict=True):
        assert torch.equal(one, other)


def hooked(module: nn.Module, *shape: int) -> tuple[int, int]:
    """Return the multiply-adds of convolutions and linear maps in a forward pass, and params."""
    counted: list[int] = []

    def count(part: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(part, (nn.Conv2d, nn.Linear))
        counted.append(output.numel() * part.weight[0].numel())

    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            part.register_forward_hook(count)
    with torch.no_grad():
        module.eval()(torch.empty(1, *shape, device=META))
    return sum(counted), sum(one.numel() for one in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v1", "mnasnet_a1", "tiny"])
@pytest.mark.parametrize("at_expansion", [False, True])
def test_counts_are_those_of_the_modules(name: str, at_expansion: bool) -> None:
    arch = Arch.load(name) if name in BASELINES else SearchSpace.load(name).random(5)
    for strides, output_stride in (((4, 8), None), ((8,), None), ((4, 8), 4)):
        with META:
            features = build(
                arch,
                features_only=True,
                strides=strides,
                output_stride=output_stride,
                at_expansion=at_expansion,
            )
        chosen = features.backbone
        params = sum(map(count_params, chosen.layers))
        assert hooked(features, 3, 97, 130) == (chosen.macs(97, 130), params)
        with torch.no_grad():
            maps = features(torch.empty(1, 3, 97, 130, device=META))
        assert [tuple(one.shape[2:]) for one in maps] == chosen.sizes(97, 130)


def test_whole_network_counts_as_its_layers() -> None:
    arch = Arch.load("mobilenet_v3_large")
    head_macs = 960 * 1280 + 1280 * 1000
    assert Backbone.of(arch).macs(224, 224) == 216_589_760 - head_macs


def test_reduced_tail_is_that_of_the_authors_code() -> None:
    large = reduced_tail(Arch.load("mobilenet_v3_large"))
    assert [str(layer) for layer in large.layers[13:]] == [
        "mb k5 112>672>80 s2 se168 hs @14",
        "mb k5 80>480>80 s1 se120 hs @7",
        "mb k5 80>480>80 s1 se120 hs @7",
        "conv k1 80>480 s1 hs @7",
        "head 480>1280>1000 hs @7",
    ]
    assert large.layers[:13] == Arch.load("mobilenet_v3_large").layers[:13]
    # tensorflow/models, research/deeplab/core/feature_extractor.py: expansions 144, 288, 288
    small_one = reduced_tail(Arch.load("mobilenet_v3_small"), keeps_expansion=False)
    assert [str(layer) for layer in small_one.layers[9:-1]] == [
        "mb k5 48>144>48 s2 se40 hs @14",
        "mb k5 48>288>48 s1 se72 hs @7",
        "mb k5 48>288>48 s1 se72 hs @7",
        "conv k1 48>288 s1 hs @7",
    ]


def test_weights_of_another_network_are_refused() -> None:
    other = checkpoint_of(Arch.load("mobilenet_v1").scaled(0.25, 32))
    arch = Arch.load("mobilenet_v1").scaled(0.5, 32)
    mixed = Checkpoint(
        arch=arch, weights=other.weights, classes=other.classes, mean=(0.5,), std=(0.5,)
    )
    with pytest.raises(NasError, match=r"these weights do not fit mobilenet_v1_w0\.5_r32"):
        mixed.features()


def test_a_checkpoint_file_becomes_a_backbone(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(SearchSpace.load("tiny").random(0))
    checkpoint.save(tmp_path / "net.safetensors")
    features = Checkpoint.load(tmp_path / "net.safetensors").features((8,))
    assert not features.training
    own = features.state_dict()
    assert own.keys() < checkpoint.weights.keys()
    assert all(torch.equal(one, checkpoint.weights[name]) for name, one in own.items())


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    for at_expansion in (False, True):
        arch = small("mobilenet_v3_small")
        features = build(arch, features_only=True, strides=(8, 16), at_expansion=at_expansion)
        total = torch.stack([one.square().mean() for one in features(torch.randn(2, 3, 64, 64))])
        total.sum().backward()  # type: ignore[no-untyped-call]
        assert all(one.grad is not None for one in features.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (8, 64)}, "has no layer of stride 64. It has strides 2, 4, 8, 16, 32"),
        ({"strides": ()}, "strides must name at least one stride and none twice"),
        ({"strides": (8, 8)}, "none twice"),
        ({"strides": (8, "16")}, "has no layer of stride '16'"),
        ({"output_stride": 3}, "has no layer of output_stride=3. It has strides 2, 4"),
        ({"num_classes": 5}, "features have no classes"),
        ({"features_only": False, "strides": (8,)}, "Add features_only=True"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with META, pytest.raises(NasError, match=message):
        build(Arch.load("mobilenet_v2"), **{"features_only": True, **options})  # type: ignore[call-overload]


def test_a_network_without_any_usual_stride_says_what_it_has() -> None:
    lines = ("conv k3 3>8 s2 re @32", "mb k3 8>16>8 s1 re @16", "head 8>10 @16")
    arch = Arch(name="flat", layers=tuple(map(Layer.parse, lines)))
    with pytest.raises(NasError, match="flat has no layer of any of 4, 8, 16 and 32"):
        build(arch, features_only=True)


@pytest.mark.slow
def test_the_docs_run(tmp_path: Path) -> None:
    checkpoint_of(SearchSpace.load("mobilenet_v3_small").random(0)).save(
        tmp_path / "best.safetensors"
    )
    text = (Path(__file__).parents[1] / "docs/backbone.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == [
        "(1, 24, 56, 80) 24 4",
        "(1, 40, 28, 40) 40 8",
        "(1, 112, 14, 20) 112 16",
        "(1, 960, 7, 10) 960 32",
    ]


def test_writers_of_files_refuse_spread_kernels() -> None:
    features = checkpoint_of(small("mobilenet_v2")).features(output_stride=8)
    with pytest.raises(NasError, match=r"must have dilation 1 .* Build the backbone without"):
        steps_of(features.layers, torch.randn(1, 3, 64, 64))
