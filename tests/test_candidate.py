"""A candidate's figures are those of its network, summed by hand."""

from dataclasses import FrozenInstanceError

import pytest

from nas.arch import Arch, Layer
from nas.candidate import GROUPS, Candidate


def small() -> Arch:
    """Return a stem and a head: 8 x 8 px of 1 channel to 4 x 4 of 2, then 3 classes."""
    stem = Layer(op="conv", size=8, in_channels=1, out_channels=2, kernel=3, stride=2, act="relu")
    head = Layer(op="head", size=4, in_channels=2, out_channels=3)
    return Arch(name="small", layers=(stem, head))


def candidate(layer_ms: tuple[float, ...] = (0.25, 0.5)) -> Candidate:
    return Candidate(
        name="small",
        group="winner",
        study="large",
        arch=small(),
        top1=70.0,
        top1_std=0.5,
        layer_ms=layer_ms,
    )


def test_figures_are_the_hand_sums() -> None:
    one = candidate()
    assert one.ms == 0.75
    assert one.macs == 4 * 4 * 3 * 3 * 1 * 2 + 2 * 3
    # Weights, and a scale and a shift for each of the stem's channels; weights and biases.
    assert one.params == (3 * 3 * 1 * 2 + 2 * 2) + (2 * 3 + 3)
    # The stem's input and output are alive together.
    assert one.peak_memory_bytes == 4 * (8 * 8 * 1 + 4 * 4 * 2)


def test_nothing_is_published_of_a_new_network() -> None:
    assert candidate().published_top1 is None
    assert candidate().group in GROUPS


def test_a_candidate_is_not_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        candidate().top1 = 99.0  # type: ignore[misc]
