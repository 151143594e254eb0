"""SSDLite: SSD's detector with depthwise convolutions (arXiv:1801.04381, 6.2; 1905.02244, 6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.heads import EXTRA_CHANNELS, Cost, extra_layers, ssdlite_cost, ssdlite_sizes
from nas.network.blocks import Conv, ConvNorm, Separable
from nas.network.detection.anchors import Anchors
from nas.network.detection.boxes import decode, suppress
from nas.network.detection.loss import Target, multibox_loss
from nas.network.features import Features
from nas.text import integer

# torchvision's ssdlite: what starts as large as a convolution of a classifier does not converge.
WEIGHT_STD = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What was found in one image, best first: boxes (B, 4) in shares of it, scores, classes."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class SSDLiteHead(nn.Module):
    """Predict classes and offsets of the anchors at each pixel of each map."""

    def __init__(
        self,
        channels: Sequence[int],
        n_anchors: Sequence[int],
        num_classes: int,
        extras: Sequence[int] = EXTRA_CHANNELS,
    ) -> None:
        """Take maps of `channels`, add those of `extras`; `n_anchors` is of all of them."""
        super().__init__()
        self.extras = nn.ModuleList(
            nn.Sequential(Conv(squeezed), Separable(strided))
            for squeezed, strided in extra_layers(channels[-1], extras)
        )
        every = list(zip((*channels, *extras), n_anchors, strict=True))
        self.scores = nn.ModuleList(_predictor(one, n * (num_classes + 1)) for one, n in every)
        self.offsets = nn.ModuleList(_predictor(one, n * 4) for one, n in every)
        self.num_classes = num_classes
        self.apply(_initialise)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (N, A, classes + 1), the background's first, and offsets (N, A, 4)."""
        maps = list(maps)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        scores = [
            _by_anchor(part(one), self.num_classes + 1)
            for part, one in zip(self.scores, maps, strict=True)
        ]
        offsets = [_by_anchor(part(one), 4) for part, one in zip(self.offsets, maps, strict=True)]
        return torch.cat(scores, 1), torch.cat(offsets, 1)


class SSDLite(nn.Module):
    """A backbone with an SSDLite head: classes and boxes of images of any size."""

    def __init__(
        self,
        backbone: Features,
        num_classes: int,
        extras: Sequence[int] = EXTRA_CHANNELS,
        anchors: Anchors | None = None,
    ) -> None:
        """Put the head on a backbone; the papers' has strides (16, 32) and `at_expansion=True`.

        `extras` are the channels of the maps that are added, `anchors` by default SSD's.

        Raises:
            NasError: the anchors are for another number of maps.
        """
        super().__init__()
        n_maps = len(backbone.channels) + len(extras)
        self.anchors = Anchors.of_ssd(n_maps) if anchors is None else anchors
        if len(self.anchors.shapes) != n_maps:
            raise NasError(
                f"anchors must be for the {n_maps} maps of this detector, but are for "
                f"{len(self.anchors.shapes)}."
            )
        self.backbone = backbone
        n_anchors = self.anchors.n_per_pixel
        self.head = SSDLiteHead(
            backbone.channels, n_anchors, integer(num_classes, "num_classes"), extras
        )
        self._extras = tuple(extras)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, C, H, W) to logits (N, A, classes + 1) and offsets (N, A, 4)."""
        scores, offsets = self.head(self.backbone(images))
        return scores, offsets

    def boxes(self, height: int, width: int, device: torch.device | None = None) -> Tensor:
        """Return the anchors (A, 4) for images of this size, in the order of `forward`."""
        sizes = ssdlite_sizes(self.backbone.backbone, height, width, len(self._extras))
        return self.anchors.boxes(sizes, device)

    def loss(self, images: Tensor, targets: Sequence[Target]) -> Tensor:
        """Return SSD's loss on images whose boxes are known."""
        scores, offsets = self(images)
        anchors = self.boxes(images.shape[2], images.shape[3], images.device)
        return multibox_loss(scores, offsets, anchors, targets)

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        min_score: float = 0.05,
        max_overlap: float = 0.55,
        most: int = 100,
    ) -> list[Detections]:
        """Return what is found in each image; put the detector into `eval` first.

        Of boxes of one class that overlap by more than `max_overlap` the best stays.
        """
        scores, offsets = self(images)
        anchors = self.boxes(images.shape[2], images.shape[3], images.device)
        found = decode(offsets, anchors).clamp(0, 1)
        chances = scores.softmax(-1)[..., 1:]
        return [
            _chosen(boxes, own, min_score, max_overlap, most)
            for boxes, own in zip(found, chances, strict=True)
        ]

    def cost(self, height: int, width: int) -> Cost:
        """Return the multiply-adds and parameters for one image of this size."""
        return ssdlite_cost(
            self.backbone.backbone,
            height,
            width,
            num_classes=self.head.num_classes,
            n_anchors=self.anchors.n_per_pixel,
            extras=self._extras,
        )


def _chosen(
    boxes: Tensor, chances: Tensor, min_score: float, max_overlap: float, most: int
) -> Detections:
    anchors, labels = (chances > min_score).nonzero(as_tuple=True)
    scores = chances[anchors, labels]
    # Of the thousands that an untrained network finds, only the best can be among the results.
    best = scores.topk(min(len(scores), 10 * most)).indices
    anchors, labels, scores = anchors[best], labels[best], scores[best]
    kept = suppress(boxes[anchors], scores, labels, max_overlap)[:most]
    return Detections(boxes=boxes[anchors[kept]], scores=scores[kept], labels=labels[kept])


def _by_anchor(prediction: Tensor, n_values: int) -> Tensor:
    return prediction.permute(0, 2, 3, 1).reshape(len(prediction), -1, n_values)


def _predictor(channels: int, outputs: int) -> nn.Module:
    depthwise = ConvNorm(channels, channels, kernel=3, groups=channels, act="relu6")
    return nn.Sequential(depthwise, nn.Conv2d(channels, outputs, 1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=WEIGHT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
