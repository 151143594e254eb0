"""An exported file beside the torch network that it was made of."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.errors import NasError
from nas.latency.runner.sessions import Session
from nas.steps import OnStep

MAX_DIFFERENCE = 1e-4
"""Of a file in fp32, as a share of the largest logit of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a file and torch agree on some images.

    `largest_difference` is that of two logits as a share of the image's largest logit. The top-1,
    in percent, are None where no labels are known.
    """

    n_images: int
    largest_difference: float
    same_top1_percent: float
    torch_top1_percent: float | None = None
    file_top1_percent: float | None = None

    def check(self, name: str) -> None:
        """Refuse a file in fp32 that computes something else.

        Raises:
            NasError: a difference above `MAX_DIFFERENCE`.
        """
        # A comparison with a value that is no number is false.
        if not self.largest_difference <= MAX_DIFFERENCE:
            raise NasError(
                f"{name} must compute what torch does within {MAX_DIFFERENCE:g} of the largest "
                f"logit, but differs by {self.largest_difference:.2g}; it was not written. Choose "
                "another format=, and report this network."
            )


def compare(
    session: Session,
    network: nn.Module,
    batches: Iterable[Tensor],
    n_images: int,
    labels: Tensor | None,
    on_step: OnStep,
) -> Agreement:
    """Run a file's session and its network, in eval mode, on the same images.

    Batches are (N, C, H, W) of any N, `n_images` in all.
    """
    expected, found = [], []
    for images in batches:
        with torch.inference_mode():
            expected.append(network(images).numpy())
        found += [_run(session, image[None].numpy()) for image in images]
        on_step("comparing with torch", len(found), n_images)
    return agreement(
        np.concatenate(expected),
        np.concatenate(found),
        None if labels is None else labels.numpy(),
    )


def agreement(
    expected: NDArray[np.float32], found: NDArray[np.float32], labels: NDArray[np.int64] | None
) -> Agreement:
    """Compare logits (N, classes)."""
    differences = np.abs(found - expected).max(axis=1) / np.abs(expected).max(axis=1)
    winners, its_winners = expected.argmax(axis=1), found.argmax(axis=1)
    return Agreement(
        n_images=len(expected),
        largest_difference=float(differences.max()),
        same_top1_percent=_percent(winners == its_winners),
        torch_top1_percent=None if labels is None else _percent(winners == labels),
        file_top1_percent=None if labels is None else _percent(its_winners == labels),
    )


def _run(session: Session, image: NDArray[np.float32]) -> NDArray[np.float32]:
    session.feed(image)
    session()
    return session.output()


def _percent(is_so: NDArray[np.bool_]) -> float:
    return 100 * float(is_so.mean())
