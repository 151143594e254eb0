"""Scores from the gradients of an untrained network: grad_norm, SNIP and ZiCo."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.proxies.zero_cost.probe import Batch, in_training_mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Weights of each convolution and linear map, and their gradients for each batch.

    Biases and batch-norms are left out, as in the published code of each of the scores.
    """

    weights: tuple[Tensor, ...]
    by_batch: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def of(cls, network: nn.Module, batches: Iterable[Batch]) -> "Gradients":
        """Differentiate the cross-entropy of each batch; the network itself is left as it was."""
        weights = weights_of(network)
        with in_training_mode(network), torch.enable_grad():
            by_batch = tuple(
                torch.autograd.grad(
                    functional.cross_entropy(network(batch.images), batch.labels), weights
                )
                for batch in batches
            )
        return cls(weights=tuple(weight.detach() for weight in weights), by_batch=by_batch)

    def grad_norm(self) -> float:
        """Return the sum over layers of the gradient's norm, first batch (arXiv:2101.08134)."""
        return _total(gradient.norm() for gradient in self.by_batch[0])

    def snip(self) -> float:
        """Return the sum of |weight x gradient|, first batch (arXiv:1810.02340, 2101.08134)."""
        pairs = zip(self.weights, self.by_batch[0], strict=True)
        return _total((weight * gradient).abs().sum() for weight, gradient in pairs)

    def zico(self) -> float:
        """Return the sum over layers of log sum mean|g| / std(g) over batches (arXiv:2301.11300).

        Of the gradient g of each weight; those that do not vary count nothing, as in its code.
        """
        total = 0.0
        for layer in zip(*self.by_batch, strict=True):
            mean = torch.stack(layer).mean(dim=0)
            size = torch.stack([gradient.abs() for gradient in layer]).mean(dim=0)
            std = torch.stack([(gradient - mean) ** 2 for gradient in layer]).mean(dim=0).sqrt()
            ratios = torch.where(std > 0, size / std, 0)
            if (ratios > 0).any():
                total += log(float(ratios.sum(dtype=torch.float64)))
        return total


def weights_of(network: nn.Module) -> tuple[Tensor, ...]:
    """Return the weights of every convolution and linear map, in network order."""
    kinds = (nn.Conv2d, nn.Linear)
    return tuple(part.weight for part in network.modules() if isinstance(part, kinds))


def _total(values: Iterable[Tensor]) -> float:
    return float(sum(float(value) for value in values))
