"""The optimizer of a recipe, and its learning rate on the way through a training."""

from math import cos, pi
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from nas.training.recipe import Recipe

WARM_UP = 0.2
"""Share of a training in which the learning rate rises."""


def make_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimizer of all parameters; see `parameter_groups`."""
    groups = parameter_groups(network, recipe.weight_decay)
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999), fused=True)
    nesterov = recipe.momentum > 0
    return SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov, fused=True
    )


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters that learn in two groups; those of one dimension do not decay.

    Batch-norm's scales and all biases hold no directions that a decay would keep small
    (arXiv:1812.01187, 3.1); decaying them costs accuracy in a short training.
    """
    every = [one for one in network.parameters() if one.requires_grad]
    return [
        {"params": [one for one in every if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in every if one.ndim <= 1], "weight_decay": 0.0},
    ]


def set_learning_rate(optimizer: Optimizer, recipe: Recipe, progress: float) -> None:
    """Set the rate for a share `progress` of the training, from 0 to 1."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * one_cycle(progress)


def one_cycle(progress: float) -> float:
    """Return the share of the highest rate: up along a line, down along a cosine to 0."""
    if progress < WARM_UP:
        # Not from 0, where the first batch would teach nothing.
        return 0.05 + 0.95 * progress / WARM_UP
    return 0.5 + 0.5 * cos(pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP)))


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Return the type that products are computed in on a device; None: as the weights.

    A CPU without instructions for short floats is slower with them.
    """
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
