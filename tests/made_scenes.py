"""Made images with rectangles of a few colours: their boxes, and the class of every pixel."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.network.detection.loss import Target

COLOURS = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])
"""Of class 0 and class 1, on grey noise."""


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Images (N, 3, H, W), the boxes of each, and the pixels' classes (N, H, W), 0 the ground."""

    images: Tensor
    targets: list[Target]
    pixels: Tensor


def made_scenes(n: int, height: int, width: int, seed: int) -> Scenes:
    """Return scenes of one or two rectangles each, a quarter to a half of a side long."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    images = 0.3 * torch.randn(n, 3, height, width, generator=generator)
    pixels = torch.zeros(n, height, width, dtype=torch.long)
    targets = []
    for number in range(n):
        boxes, labels = [], []
        for side in range(draw(1, 2)):  # the second one lies in the right half
            tall, wide = draw(height // 4, height // 2), draw(width // 4, width // 2 - 1)
            top, left = draw(0, height - tall), draw(0, width // 2 - wide) + side * (width // 2)
            label = draw(0, 1)
            images[number, :, top : top + tall, left : left + wide] += COLOURS[label][:, None, None]
            pixels[number, top : top + tall, left : left + wide] = label + 1
            corners = (left / width, top / height, (left + wide) / width, (top + tall) / height)
            boxes.append(corners)
            labels.append(label)
        targets.append(Target.of(torch.tensor(boxes), torch.tensor(labels), 2))
    return Scenes(images=images, targets=targets, pixels=pixels)


def quick_norms(network: nn.Module) -> None:
    """Let batch-norms follow within the few steps of a test."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.2
