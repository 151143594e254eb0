"""A depthwise convolution that also trains quickly on a CPU where maps are smaller than kernels."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

MIN_KERNEL = 5
"""No map of more than one pixel is smaller than a kernel of 3 but one of 2, which costs little."""


class QuickDepthwise(nn.Conv2d):
    """A depthwise convolution without bias that equals `nn.Conv2d`, gradients to rounding.

    For maps smaller than the kernel oneDNN takes 3.5 to 6 times as long for the gradients as the
    products below; for larger ones it is as quick or quicker, and stays in use.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        is_small = max(x.shape[2:]) < self.kernel_size[0]
        if not (is_small and torch.is_grad_enabled() and x.device.type == "cpu"):
            return super().forward(x)
        product: Tensor = _Depthwise.apply(x, self.weight, self.stride[0])  # type: ignore[no-untyped-call]
        return product


def quicken(network: nn.Module) -> None:
    """Replace the depthwise convolutions with large kernels by quick ones of the same weights."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if type(part) is nn.Conv2d and _is_slow(part):
                quick = QuickDepthwise(
                    part.in_channels,
                    part.out_channels,
                    part.kernel_size[0],
                    part.stride[0],
                    part.kernel_size[0] // 2,
                    groups=part.groups,
                    bias=False,
                    device="meta",
                )
                quick.weight = part.weight
                setattr(parent, name, quick)


def _is_slow(part: nn.Conv2d) -> bool:
    is_depthwise = part.groups == part.in_channels == part.out_channels
    is_depthwise = is_depthwise and part.dilation == (1, 1)
    return is_depthwise and part.kernel_size[0] >= MIN_KERNEL and part.bias is None


class _Depthwise(torch.autograd.Function):
    """The convolution with the gradient of its weights as one product of matrices a channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return nn.functional.conv2d(
            x, weight, None, stride, weight.shape[-1] // 2, groups=weight.shape[0]
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        channels, kernel = weight.shape[0], weight.shape[-1]
        by_input = None
        if ctx.needs_input_grad[0]:
            by_input = conv2d_input(  # type: ignore[no-untyped-call]
                x.shape, weight, gradient, ctx.stride, kernel // 2, groups=channels
            )
        # Every pair of an input's and an output's pixel, then the pairs that one tap joins.
        outputs = gradient.permute(1, 2, 3, 0).reshape(channels, -1, x.shape[0])
        inputs = x.permute(1, 0, 2, 3).reshape(channels, x.shape[0], -1)
        pairs = torch.bmm(outputs, inputs).flatten(1)
        taps = _taps(x.shape[2], x.shape[3], kernel, ctx.stride)
        return by_input, (pairs @ taps).view_as(weight), None


@lru_cache(maxsize=256)
def _taps(height: int, width: int, kernel: int, stride: int) -> Tensor:
    """Return (pairs of output and input pixels, kernel^2): 1 where a tap joins the pair."""
    rows, columns = (_taps_along(size, kernel, stride) for size in (height, width))
    joined = torch.einsum("ahi,bwj->abhwij", rows, columns)
    return joined.reshape(-1, kernel**2)


def _taps_along(size: int, kernel: int, stride: int) -> Tensor:
    outputs = torch.arange(0, size, stride) - kernel // 2
    tap = torch.arange(size)[None, :] - outputs[:, None]
    return (tap[:, :, None] == torch.arange(kernel)).to(torch.float32)
