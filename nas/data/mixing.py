"""Mix each image of a batch with another: mixup and CutMix."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How the images of a batch are mixed with those before them, the first with the last.

    `share` is what an image keeps of itself, and so the weight of its own label. `box` (top,
    bottom, left, right) is what CutMix replaces; None: all pixels are averaged, as mixup does.
    """

    share: float
    box: tuple[int, int, int, int] | None = None

    def apply(self, images: Tensor) -> Tensor:
        """Return the mixed images (N, channels, H, W), floats."""
        partners = self.partners(images)
        if self.box is None:
            return partners.lerp(images, self.share)
        top, bottom, left, right = self.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        return mixed

    @staticmethod
    def partners(of: Tensor) -> Tensor:
        """Return what each row of a tensor is mixed with."""
        return of.roll(1, 0)


def draw_mix(rng: np.random.Generator, *, size: int, mixup: float, cutmix: float) -> Mix:
    """Draw how a batch of square images is mixed; one of both ways by chance where both are on.

    Args:
        rng: what the draws come from.
        size: height and width of the images in pixels.
        mixup: parameter of the symmetric Beta distribution of shares (arXiv:1710.09412); 0: off.
        cutmix: likewise for the share of the area that stays (arXiv:1905.04899); 0: off.
    """
    is_cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if is_cut else mixup
    share = float(rng.beta(alpha, alpha))
    if not is_cut:
        return Mix(share=share)
    half = size * (1 - share) ** 0.5 / 2
    middle_y, middle_x = rng.uniform(0, size, 2)
    top, bottom = (round(min(max(middle_y + one, 0), size)) for one in (-half, half))
    left, right = (round(min(max(middle_x + one, 0), size)) for one in (-half, half))
    kept = 1 - (bottom - top) * (right - left) / size**2
    return Mix(share=kept, box=(top, bottom, left, right))
