"""How much work a search space is, known from its file before any of it is done."""

from collections.abc import Iterable
from math import prod
from typing import Any

from nas.errors import NasError
from nas.scaling import make_divisible
from nas.sections import Section

MAX_LAYERS = 1_000_000
"""To be made when a space is walked, some ten seconds; the shipped spaces are below 10,000."""
MAX_PLACES = 3_000_000
"""That are looked at when the networks of a space are counted, some five seconds."""


def check_work(sections: Iterable[Section], channels: int, size: int, where: str) -> None:
    """Refuse a space that takes minutes to walk: few words may offer billions of choices.

    `channels` and `size` are those of the image.

    Raises:
        NasError: more than a million layers would have to be made.
    """
    widths, sizes, n_layers = {channels}, {size}, 0
    for section in sections:
        options = dict(section.options)
        n_options = prod(len(values) for values in options.values())
        n_layers += len(widths) * len(sizes) * n_options * max(options.get("depth", (1,)))
        if n_layers > MAX_LAYERS:
            raise NasError(
                f"{where} must make at most {MAX_LAYERS:,} layers when all its choices are tried, "
                f"but makes {n_layers:,} and more up to its {section.name}. Offer fewer choices."
            )
        widths = _widths(options) or widths
        strides = options.get("stride", (1,))
        sizes = {-(-one // stride) for one in sizes for stride in strides}


def _widths(options: dict[str, tuple[Any, ...]]) -> set[int]:
    multipliers = options.get("width", (1,))
    return {
        out if width == 1 else make_divisible(out * width)
        for out in options.get("out", ())
        for width in multipliers
    }


def check_places(n_places: int) -> None:
    """Refuse to count a space whose borders between stages lie in too many places.

    Raises:
        NasError: more than three million places have been looked at.
    """
    if n_places > MAX_PLACES:
        raise NasError(
            f"the networks of a space must be counted in {MAX_PLACES:,} places, but its stages "
            "overlap in more. Let them differ in width or stride, or offer fewer choices."
        )
