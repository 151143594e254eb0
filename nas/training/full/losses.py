"""What a training in full lowers: the cross-entropy of labels, mixed or not, and of a teacher."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.training.full.feed import Part


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A trained network that another one learns from (arXiv:1503.02531).

    `weight` is the share of the loss that is the teacher's, `temperature` what both networks'
    logits are divided by there. The network takes images as the student does.
    """

    network: nn.Module
    weight: float
    temperature: float

    def logits(self, images: Tensor) -> Tensor:
        """Return (N, classes), without a gradient."""
        with torch.no_grad():
            logits: Tensor = self.network(images)
        return logits.float()

    def blended(self, loss: Tensor, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the loss of the labels and of the teacher's `answers`, its logits, together."""
        own = distillation_loss(logits, answers, self.temperature)
        return (1 - self.weight) * loss + self.weight * own


def label_loss(logits: Tensor, part: Part, label_smoothing: float) -> Tensor:
    """Return the mean cross-entropy; a mixed image has two labels, by what it shows of each."""
    loss = functional.cross_entropy(logits, part.labels, label_smoothing=label_smoothing)
    if part.mix is None:
        return loss
    others = part.mix.partners(part.labels)
    other = functional.cross_entropy(logits, others, label_smoothing=label_smoothing)
    return part.mix.share * loss + (1 - part.mix.share) * other


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the divergence from the teacher's softened answers, times the temperature squared.

    By the square its gradients are as large as those of the labels, whatever the temperature.
    """
    divergence = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2
