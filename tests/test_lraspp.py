"""LR-ASPP: the gate by hand, counts against hooks, torchvision and the paper, a training."""

import pytest
import torch
from made_scenes import made_scenes, quick_norms
from test_backbone import hooked
from torch import Tensor
from torch.nn import functional

from nas.arch import Arch
from nas.backbone import Backbone, reduced_tail
from nas.errors import NasError
from nas.heads import lraspp_cost, pooled
from nas.network.build import build
from nas.network.features import Features
from nas.network.lraspp import LRASPP, LRASPPHead
from nas.space import SearchSpace

META = torch.device("meta")


def backbone_of(name: str, output_stride: int = 16) -> Features:
    return build(Arch.load(name), features_only=True, strides=(8, 32), output_stride=output_stride)


def windows(high: Tensor) -> Tensor:
    """Return the means over windows of 49 x 49 pixels that begin every 16 rows and 20 columns."""
    rows = range(0, high.shape[2] - 48, 16)
    columns = range(0, high.shape[3] - 48, 20)
    means = [[high[:, :, y : y + 49, x : x + 49].mean((2, 3)) for x in columns] for y in rows]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


@pytest.mark.parametrize("size", [(66, 92), (5, 9), (5, 70)])
@torch.no_grad()
def test_head_by_hand(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    head = LRASPPHead(6, 10, 4, filters=8).eval()
    low = torch.randn(2, 6, 2 * size[0] - 1, 2 * size[1])
    high = torch.randn(2, 10, *size)
    if size[0] > 49:
        means = windows(high)
        assert means.shape[2:] == (2, 3) == (pooled(66, 0), pooled(92, 1))
    else:  # of the height there is one window, the whole
        starts = range(0, max(1, size[1] - 48), 20)
        strips = [high[..., x : x + min(49, size[1])].mean((2, 3)) for x in starts]
        means = torch.stack(strips, -1)[:, :, None]
    weight, bias = head.gate.get_parameter("0.weight"), head.gate.get_parameter("0.bias")
    gate = torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], means) + bias[:, None, None]
    gate = functional.interpolate(1 / (1 + (-gate).exp()), size, mode="bilinear")
    gated = head.project(high) * gate
    # Here the map is enlarged before the classes are told, as in the paper's figure.
    enlarged = functional.interpolate(gated, low.shape[2:], mode="bilinear")
    torch.testing.assert_close(head([low, high]), head.high(enlarged) + head.low(low))


@pytest.mark.slow
def test_torchvision_counts_the_same() -> None:
    # torchvision's LRASPP_MobileNet_V3_Large_Weights: num_params 3221538, _ops 2.086 at 520 px;
    # its gate has no biases, and it enlarges before it tells its 21 classes.
    with META:
        network = LRASPP(backbone_of("mobilenet_v3_large"), 21)
    cost = network.cost(520, 520)
    assert cost.params == sum(one.numel() for one in network.parameters()) == 3_221_538 + 128
    enlarged_first = 128 * 21 * (65**2 - 33**2)
    assert round((cost.macs + enlarged_first) / 1e9, 3) == 2.086


@pytest.mark.parametrize(
    ("name", "output_stride", "params_m", "macs_b"),
    [
        # arXiv:1905.02244, tables 7 and 8, with half the filters in the last block
        ("mobilenet_v3_large", 16, 1.51, 9.74),
        ("mobilenet_v3_large", 32, 1.51, 7.74),
        ("mobilenet_v3_small", 16, 0.47, 2.90),
        ("mobilenet_v3_small", 32, 0.47, 2.06),
    ],
)
def test_counts_are_near_the_published(
    name: str, output_stride: int, params_m: float, macs_b: float
) -> None:
    arch = reduced_tail(Arch.load(name), keeps_expansion=False)
    backbone = Backbone.of(arch, (8, 32), output_stride)
    # The authors' code evaluates Cityscapes on one pixel more than its 1024 x 2048.
    cost = lraspp_cost(backbone, 1025, 2049, num_classes=19)
    assert round(cost.params / 1e6, 2) == params_m
    assert 0.89 < cost.macs / 1e9 / macs_b < 0.97


@pytest.mark.parametrize("size", [(97, 130), (1100, 1200)])
def test_counts_are_those_of_the_modules(size: tuple[int, int]) -> None:
    with META:
        network = LRASPP(backbone_of("mobilenet_v3_small"), 5, filters=24)
    cost = network.cost(*size)
    assert hooked(network, 3, *size) == (cost.macs, cost.params)
    with torch.no_grad():
        assert network(torch.empty(2, 3, *size, device=META)).shape == (2, 5, *size)


@pytest.mark.slow
def test_training_tells_the_pixels_apart() -> None:
    torch.manual_seed(0)
    arch = SearchSpace.load("tiny").random(4)
    network = LRASPP(
        build(arch, features_only=True, strides=(2, 8), output_stride=4), 3, filters=32
    )
    quick_norms(network)
    scenes = made_scenes(32, 47, 63, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for step in range(24):
        own = slice(8 * (step % 4), 8 * (step % 4) + 8)
        loss = functional.cross_entropy(network(scenes.images[own]), scenes.pixels[own])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.4 * sum(losses[:4])
    with torch.no_grad():
        right = network.eval()(scenes.images).argmax(1) == scenes.pixels
    assert right[scenes.pixels > 0].float().mean() > 0.8


def test_wrong_parts_are_named() -> None:
    with META, pytest.raises(NasError, match=r"takes two maps, but this backbone gives 4\. Build"):
        LRASPP(build(Arch.load("mobilenet_v2"), features_only=True), 5)
    with META, pytest.raises(NasError, match="num_classes must be an integer from 1"):
        LRASPP(backbone_of("mobilenet_v2"), 0)
