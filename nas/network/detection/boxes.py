"""Boxes (left, top, right, bottom) in shares of the image: overlaps, offsets, suppression."""

import torch
from torch import Tensor

CENTRE_SCALE, SIZE_SCALE = 10.0, 5.0
"""Offsets are learnt this many times larger; SSD's variances are 0.1 and 0.2 (arXiv:1512.02325)."""
MAX_SIZE_OFFSET = 4.0
"""The logarithm of the largest growth; beyond, an untrained network overflows."""


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of each of (B, 4) with each of (C, 4): (B, C)."""
    starts = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    ends = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (ends - starts).clamp(min=0).prod(-1)
    union = _areas(boxes)[:, None] + _areas(others)[None] - common
    return torch.where(union > 0, common / union.clamp(min=1e-12), 0.0)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the offsets (..., 4) that `decode` takes from anchors to boxes of the same shape."""
    centres, sizes = _centred(boxes)
    from_centres, from_sizes = _centred(anchors)
    moves = CENTRE_SCALE * (centres - from_centres) / from_sizes
    return torch.cat([moves, SIZE_SCALE * (sizes / from_sizes).log()], -1)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes (..., 4) that offsets of the same shape make of the anchors."""
    from_centres, from_sizes = _centred(anchors)
    centres = from_centres + offsets[..., :2] / CENTRE_SCALE * from_sizes
    growth = (offsets[..., 2:] / SIZE_SCALE).clamp(max=MAX_SIZE_OFFSET).exp()
    halves = from_sizes * growth / 2
    return torch.cat([centres - halves, centres + halves], -1)


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, max_overlap: float) -> Tensor:
    """Return the indices of the boxes that no better one of their label overlaps by more.

    Best first (non-maximum suppression). `boxes` (B, 4), `scores` (B), `labels` (B, integers).
    """
    order = scores.argsort(descending=True, stable=True)
    ranked, ranked_labels = boxes[order], labels[order]
    is_rival = overlaps(ranked, ranked) > max_overlap
    is_rival &= ranked_labels[:, None] == ranked_labels[None]
    rivals = is_rival.cpu()  # the loop below reads single entries
    is_kept = torch.ones(len(order), dtype=torch.bool)
    for number in range(len(order)):
        if is_kept[number]:
            is_kept[number + 1 :] &= ~rivals[number, number + 1 :]
    return order[is_kept.to(order.device)]


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    starts, ends = boxes[..., :2], boxes[..., 2:]
    return (starts + ends) / 2, ends - starts
