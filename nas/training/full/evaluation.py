"""How often a network is right on images that it did not learn from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas.data.images import Images
from nas.training.batches import VALIDATION_BATCH
from nas.training.full.feed import Feed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Shares of images in percent: the first guess is right, or one of the first five is."""

    top1: float
    top5: float
    n_images: int


def evaluate(network: nn.Module, images: Images, feed: Feed, fabric: "Fabric") -> Accuracy:
    """Judge a network on images, each device on a share of them."""
    network.eval()
    own = images[slice(fabric.global_rank, None, fabric.world_size)]
    counts = torch.zeros(2, dtype=torch.int64, device=feed.device)
    with torch.inference_mode():
        for start in range(0, len(own), VALIDATION_BATCH):
            pixels, labels = feed.on_device(own[slice(start, start + VALIDATION_BATCH)])
            with fabric.autocast():
                logits = network(pixels)
            counts += right_guesses(logits.float(), labels)
    every = fabric.all_reduce(counts.clone(), reduce_op="sum")
    assert isinstance(every, Tensor)
    top1, top5 = (100 * count / len(images) for count in every.tolist())
    return Accuracy(top1=top1, top5=top5, n_images=len(images))


def right_guesses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many labels (N,) are the first, and among the first five, of (N, classes)."""
    guesses = logits.topk(min(TOP, logits.shape[1]), dim=1).indices
    is_right = guesses == labels[:, None]
    return torch.stack([is_right[:, 0].sum(), is_right.sum()])
