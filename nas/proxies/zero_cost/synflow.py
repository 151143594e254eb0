"""Synflow: how much signal flows through the weights, without any image (arXiv:2006.05467)."""

from copy import deepcopy

import torch
from torch import nn

from nas.proxies.zero_cost.codes import ACTIVATIONS
from nas.proxies.zero_cost.gradients import weights_of


def synflow(network: nn.Module, channels: int, size: int) -> float:
    """Return the sum of weight x dR/dweight, R being the sum of the outputs for an image of ones.

    All weights count by absolute value and batch-norm is off, so that all signals are positive, and
    on these ReLU is the identity. ReLU6 and h-swish are taken for the identity as well: a bound
    of 6 would stop signals that are made only to grow. Gates stay: large signals open them wholly.
    In double precision, as R is a product over the layers. The network itself is left as it was.
    """
    positive = _linearised(deepcopy(network).to(torch.float64))
    with torch.enable_grad():
        for parameter in positive.parameters():
            parameter.data.abs_()
        ones = torch.ones(1, channels, size, size, dtype=torch.float64)
        weights = weights_of(positive)
        gradients = torch.autograd.grad(positive(ones).sum(), weights)
    pairs = zip(weights, gradients, strict=True)
    return sum(float((weight.detach() * gradient).sum()) for weight, gradient in pairs)


def _linearised(module: nn.Module) -> nn.Module:
    for name, part in module.named_children():
        if isinstance(part, (nn.BatchNorm2d, *ACTIVATIONS)):
            setattr(module, name, nn.Identity())
        else:
            _linearised(part)
    return module
