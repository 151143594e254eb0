"""SSD's loss: anchors matched to boxes, classes by cross-entropy, offsets by smooth L1."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from nas.errors import NasError
from nas.network.detection.boxes import encode, overlaps

BACKGROUND = 0
NO_BOX = -1
MIN_OVERLAP = 0.5
N_NEGATIVES = 3
"""Anchors on background that are learnt from, to each on a box (arXiv:1512.02325, section 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The boxes of one image (B, 4), in shares of it, and their classes (B), from 0 on."""

    boxes: Tensor
    labels: Tensor

    @classmethod
    def of(cls, boxes: Tensor, labels: Tensor, num_classes: int) -> Self:
        """Return the target when its values are sound.

        Raises:
            NasError: shapes differ, a box is not left < right, top < bottom within the image, or
                a label is no class.
        """
        if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            raise NasError(
                "boxes must be (B, 4) and labels (B), but are "
                f"{tuple(boxes.shape)} and {tuple(labels.shape)}."
            )
        is_within = (boxes >= 0).all() and (boxes <= 1).all()  # NaN is neither
        if not is_within or not (boxes[:, :2] < boxes[:, 2:]).all():
            raise NasError(
                "boxes must be left, top, right, bottom in shares of the image, from 0 to 1, with "
                f"left < right and top < bottom, but hold {_outlier(boxes)}. Divide pixels by the "
                "image's width and height."
            )
        if labels.numel() and not (0 <= int(labels.min()) <= int(labels.max()) < num_classes):
            raise NasError(
                f"labels must be from 0 to {num_classes - 1}, but reach from {int(labels.min())} "
                f"to {int(labels.max())}. The background has none."
            )
        return cls(boxes=boxes.float(), labels=labels.long())

    def on(self, device: torch.device) -> Self:
        """Return the target on a device."""
        return replace(self, boxes=self.boxes.to(device), labels=self.labels.to(device))


def match(anchors: Tensor, boxes: Tensor, min_overlap: float = MIN_OVERLAP) -> Tensor:
    """Return for each anchor (A, 4) the number of its box (B, 4), or -1: (A,).

    An anchor takes the box that it overlaps most, if by `min_overlap`. First, though, every box
    gets an anchor of its own: the pair that overlaps most, then the next of those left.
    """
    if not len(boxes):
        return torch.full((len(anchors),), NO_BOX, device=anchors.device)
    shared = overlaps(boxes, anchors)
    best, owner = shared.max(0)
    owner[best < min_overlap] = NO_BOX
    for _ in range(min(shared.shape)):
        box, anchor = divmod(int(shared.argmax()), shared.shape[1])
        owner[anchor] = box
        shared[box], shared[:, anchor] = -1.0, -1.0
    return owner


def multibox_loss(
    scores: Tensor, offsets: Tensor, anchors: Tensor, targets: Sequence[Target]
) -> Tensor:
    """Return SSD's loss, a scalar: a sum over anchors divided by the number of anchors on boxes.

    Args:
        scores: logits (N, A, classes + 1), the first of the background.
        offsets: (N, A, 4), as `decode` takes them.
        anchors: (A, 4).
        targets: the boxes of each of the N images.

    Raises:
        NasError: there is not one target an image.
    """
    if len(targets) != len(scores):
        raise NasError(f"{len(scores)} images need as many targets, but got {len(targets)}.")
    scores, offsets = scores.float(), offsets.float()  # they may be of lower precision
    targets = [target.on(anchors.device) for target in targets]
    owners = torch.stack([match(anchors, target.boxes) for target in targets])
    is_box = owners != NO_BOX
    classes = torch.full_like(owners, BACKGROUND)
    wanted = torch.zeros_like(offsets)
    for number, target in enumerate(targets):
        own = is_box[number]
        classes[number, own] = target.labels[owners[number, own]] + 1
        wanted[number, own] = encode(target.boxes[owners[number, own]], anchors[own])
    moved = functional.smooth_l1_loss(offsets[is_box], wanted[is_box], reduction="sum")
    losses = functional.cross_entropy(scores.flatten(0, 1), classes.flatten(), reduction="none")
    chosen = is_box | _hardest(losses.detach().view_as(owners), is_box)
    return (moved + losses.view_as(owners)[chosen].sum()) / is_box.sum().clamp(min=1)


def _hardest(losses: Tensor, is_box: Tensor) -> Tensor:
    """Return which anchors on background are learnt from: in each image those of most loss."""
    ranks = losses.masked_fill(is_box, -1.0).argsort(1, descending=True).argsort(1)
    # An image without boxes teaches as much background as one with a single anchor on a box.
    n_wanted = N_NEGATIVES * is_box.sum(1, keepdim=True).clamp(min=1)
    return (ranks < n_wanted) & ~is_box


def _outlier(boxes: Tensor) -> list[float]:
    is_wrong = ~((boxes >= 0) & (boxes <= 1)).all(1) | (boxes[:, :2] >= boxes[:, 2:]).any(1)
    return [round(float(value), 4) for value in boxes[is_wrong][0]]
