"""The moving average of a network's weights, which is judged and kept in their place."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of all floats of a network, running statistics included.

    After n updates it forgets at a rate of at most (1 + n) / (10 + n), as TensorFlow's does with
    `num_updates`: otherwise it would hold the first weights for 1 / (1 - decay) steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._own = floats_of(self.network)
        self._followed = floats_of(network)

    def decay_at(self, n_updates: int) -> float:
        """Return what is kept of the average at the update after so many."""
        return min(self.decay, (1 + n_updates) / (10 + n_updates))

    def update(self, n_updates: int) -> None:
        """Move towards the network's weights, after so many updates before."""
        with torch.no_grad():
            torch._foreach_lerp_(self._own, self._followed, 1 - self.decay_at(n_updates))


def floats_of(network: nn.Module) -> list[Tensor]:
    """Return all parameters and buffers that are no counters, in the order of their names."""
    every = network.state_dict(keep_vars=True).values()
    return [one.detach() for one in every if one.is_floating_point()]
