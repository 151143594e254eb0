"""The quick depthwise convolution equals torch's own."""

import pytest
import torch
from torch import Tensor, nn

from nas.network.build import build
from nas.network.depthwise import QuickDepthwise, quicken
from nas.space import SearchSpace


def pair(kernel: int, stride: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    plain = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    holder = nn.Sequential(plain)
    quicken(holder)
    quick = holder[0]
    assert isinstance(quick, QuickDepthwise)
    return plain, quick


@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (7, 7), (3, 5)])
def test_gradients_are_torch_s(kernel: int, stride: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain, quick = pair(kernel, stride)
    images = torch.randn(5, 6, *shape, requires_grad=True)
    expected: Tensor = plain(images)
    found: Tensor = quick(images)
    assert torch.equal(expected, found)
    gradient = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, [images, quick.weight], gradient),
        torch.autograd.grad(expected, [images, plain.weight], gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_only_large_depthwise_kernels_are_replaced() -> None:
    space = SearchSpace.load("tiny")
    chosen = {name: values[-1] for name, values in space.choices.items()}
    network = build(space.arch(chosen | {"stage2.kernel": 3}))
    before = {name: one.clone() for name, one in network.state_dict().items()}
    quicken(network)
    kinds = [isinstance(one, QuickDepthwise) for one in network.modules()]
    assert sum(kinds) == 3
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert {name for name, _ in network.named_parameters()} <= set(before)


def test_no_gradient_no_difference() -> None:
    plain, quick = pair(5, 1)
    images = torch.randn(2, 6, 4, 4)
    with torch.inference_mode():
        assert torch.equal(plain(images), quick(images))
