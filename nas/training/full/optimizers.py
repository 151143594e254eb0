"""The optimizer of a training in full, and its learning rate on the way."""

from math import cos, floor, pi

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from nas.training.full.recipe import FullRecipe
from nas.training.optimizers import parameter_groups

RMSPROP_DECAY = 0.9
RMSPROP_EPSILON = 0.0316
"""MnasNet's 0.001 (tensorflow/tpu) stands inside of the root, torch's outside."""
FIRST_SHARE = 0.05
"""Of the rate where the warm-up begins: at 0 the first batch would teach nothing."""


def make_optimizer(network: nn.Module, recipe: FullRecipe) -> Optimizer:
    """Return the optimizer of the parameters that learn; see `parameter_groups`."""
    groups = parameter_groups(network, recipe.weight_decay)
    rate, momentum = recipe.learning_rate, recipe.momentum
    if recipe.optimizer == "adam":
        return Adam(groups, lr=rate, betas=(momentum, 0.999), fused=True)
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=rate, betas=(momentum, 0.999), fused=True)
    if recipe.optimizer == "rmsprop":
        return RMSprop(
            groups,
            lr=rate,
            alpha=RMSPROP_DECAY,
            eps=RMSPROP_EPSILON,
            momentum=momentum,
            foreach=True,
        )
    return SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=True)


def learning_rate(recipe: FullRecipe, epochs_done: float) -> float:
    """Return the rate after so many epochs, parts of one included."""
    if epochs_done < recipe.warmup_epochs:
        share = FIRST_SHARE + (1 - FIRST_SHARE) * epochs_done / recipe.warmup_epochs
    elif recipe.schedule == "cosine":
        left = max(recipe.epochs - recipe.warmup_epochs, 1e-9)
        share = 0.5 + 0.5 * cos(pi * min(1.0, (epochs_done - recipe.warmup_epochs) / left))
    elif recipe.schedule == "step":
        share = recipe.decay_rate ** floor(epochs_done / recipe.decay_epochs)
    else:
        share = 1.0
    return recipe.learning_rate * share
