"""Widths: which may be cut, what a cut changes, and which weights are left."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.ablation import ablated
from nas.adapt.crop import cropped
from nas.adapt.widths import Width, smallest, widths
from nas.arch import Arch, Layer
from nas.cost import count_macs
from nas.errors import NasError
from nas.network.build import build
from nas.network.checkpoint import Checkpoint
from nas.space import SearchSpace

SMALL = Arch.load("mobilenet_v3_small").scaled(1, 32).with_num_classes(5)
NETWORKS = [
    SMALL,
    Arch.load("mobilenet_v2").scaled(0.5, 32).with_num_classes(5),
    ablated(SMALL, ["se_after_projection"]),
    *(SearchSpace.load("small_images").random(seed) for seed in range(1)),
]


def checkpoint_of(arch: Arch) -> Checkpoint:
    network = build(arch, dropout=0.0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn_like(part.bias)
            part.running_var = torch.rand_like(part.bias) + 0.5
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    return Checkpoint(
        arch=arch,
        weights=network.state_dict(),
        classes=tuple(map(str, range(arch.num_classes))),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


def test_the_widths_of_v3_large_are_the_papers() -> None:
    """Table 1 of arXiv:1905.02244: exp size of 14 expanding blocks, and the runs of equal #out."""
    found = list(widths(Arch.load("mobilenet_v3_large")))
    expansions = [one.channels for one in found if one.kind == "expansion"]
    assert expansions == [64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960]
    shared = [(one.channels, len(one.layers)) for one in found if one.kind == "bottleneck"]
    # The first is the stem's too, whose 16 channels the first block adds to.
    assert shared == [(16, 2), (24, 2), (40, 3), (80, 4), (112, 2), (160, 3)]


def test_a_cut_changes_what_the_paper_says() -> None:
    arch = Arch.load("mobilenet_v3_large")
    expansion, bottleneck = (next(w for w in widths(arch) if w.kind == kind) for kind in KINDS)
    by_hand = {2: "mb k3 16>48>24 s2 re @112"}
    assert changed(arch, expansion.cut(arch, 48)) == by_hand
    shared = next(w for w in widths(arch) if w.channels == 40)
    assert changed(arch, shared.cut(arch, 32)) == {
        4: "mb k5 24>72>32 s2 se24 re @56",
        5: "mb k5 32>120>32 s1 se32 re @28",
        6: "mb k5 32>120>32 s1 se32 re @28",
        7: "mb k3 32>240>80 s2 hs @28",
    }
    assert bottleneck.layers == (0, 1)


KINDS = ("expansion", "bottleneck")


def changed(before: Arch, after: Arch) -> dict[int, str]:
    pairs = enumerate(zip(before.layers, after.layers, strict=True))
    return {number: str(new) for number, (old, new) in pairs if old != new}


@pytest.mark.slow
@pytest.mark.parametrize("arch", NETWORKS, ids=lambda arch: arch.key())
def test_every_cut_keeps_the_kind_of_every_layer_and_saves_work(arch: Arch) -> None:
    names = names_of(arch)
    for width in widths(arch):
        for channels in width.smaller:
            if width.is_kept_apart(arch, channels):
                cut = width.cut(arch, channels)
                assert names_of(cut) == names, width
                assert count_macs(cut) < count_macs(arch)
                assert [one.residual for one in cut.layers] == [one.residual for one in arch.layers]
                break


def names_of(arch: Arch) -> list[str]:
    with torch.device("meta"):
        return list(build(arch).state_dict())


def test_a_width_that_would_take_an_expansion_away_is_not_kept_apart() -> None:
    arch = Arch.load("mobilenet_v3_large")
    width = Width(kind="expansion", layers=(3,), channels=72)  # its input has 24
    assert not width.is_kept_apart(arch, 24)
    assert width.is_kept_apart(arch, 32)


def test_the_smallest_network_has_nothing_left_to_cut() -> None:
    for least in smallest(Arch.load("mobilenet_v3_large")):
        left = [(w, c) for w in widths(least) for c in w.smaller if w.is_kept_apart(least, c)]
        assert not left


@pytest.mark.parametrize("arch", NETWORKS, ids=lambda arch: arch.key())
@pytest.mark.slow
def test_channels_that_say_nothing_are_the_ones_that_go(arch: Arch) -> None:
    """A network in which some channels are dead computes the same without them."""
    checkpoint = checkpoint_of(arch)
    images = torch.randn(2, 3, arch.resolution, arch.resolution)
    n_compared = 0
    for width in list(widths(arch))[::3]:
        channels = next(iter(width.smaller), 0)
        if not channels or not width.is_kept_apart(arch, channels):
            continue
        dead = torch.randperm(width.channels)[: width.channels - channels]
        weights = without(checkpoint, width, dead)
        cut = width.cut(arch, channels)
        if any(old.se != new.se for old, new in zip(arch.layers, cut.layers, strict=True)):
            continue  # squeeze channels go as well, and none of those is dead
        killed = replace(checkpoint, weights=weights)
        expected = killed.network()(images)
        torch.testing.assert_close(
            cropped(killed, cut).network()(images), expected, rtol=1e-4, atol=1e-5
        )
        n_compared += 1
    assert n_compared


def without(checkpoint: Checkpoint, width: Width, dead: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the weights with some channels dead: nothing comes out of their batch-norms."""
    weights = {name: one.clone() for name, one in checkpoint.weights.items()}
    for number in width.layers:
        op = checkpoint.arch.layers[number].op
        part = "body.depthwise" if width.kind == "expansion" else "body.project"
        prefix = f"layers.{number}." + ("" if op == "conv" else f"{part}.")
        for name in ("norm.weight", "norm.bias"):
            weights[prefix + name][dead] = 0
    return weights


def test_squeeze_channels_that_say_nothing_go_first() -> None:
    layers = ("conv k3 3>16 s2 re @32", "mb k3 16>64>16 s1 se16 re @16", "head 16>5 @16")
    arch = Arch(name="one block", layers=tuple(map(Layer.parse, layers)))
    checkpoint = checkpoint_of(arch)
    weights = {name: one.clone() for name, one in checkpoint.weights.items()}
    dead = torch.randperm(16)[:8]
    weights["layers.1.body.se.reduce.weight"][dead] = 0
    weights["layers.1.body.se.reduce.bias"][dead] = 0
    gone = torch.randperm(64)[:32]
    for name in ("norm.weight", "norm.bias"):
        weights[f"layers.1.body.depthwise.{name}"][gone] = 0
    killed = replace(checkpoint, weights=weights)
    images = torch.randn(2, 3, 32, 32)
    cut = next(iter(widths(arch))).cut(arch, 32)
    assert cut.layers[1].se == 8
    torch.testing.assert_close(
        cropped(killed, cut).network()(images), killed.network()(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("n_cuts", [1, 6])
def test_cuts_on_cuts_still_fit(n_cuts: int) -> None:
    checkpoint, rng = checkpoint_of(SMALL), torch.Generator().manual_seed(0)
    for _ in range(n_cuts):
        offered = [
            width.cut(checkpoint.arch, channels)
            for width in widths(checkpoint.arch)
            for channels in [next(iter(width.smaller), 0)]
            if channels and width.is_kept_apart(checkpoint.arch, channels)
        ]
        arch = offered[int(torch.randint(len(offered), (1,), generator=rng))]
        checkpoint = cropped(checkpoint, arch)
        assert checkpoint.network()(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_another_networks_weights_are_named() -> None:
    other = Arch.load("mobilenet_v2").scaled(0.5, 32).with_num_classes(5)
    with pytest.raises(NasError, match="must be mobilenet_v3_small_r32 with fewer channels"):
        cropped(checkpoint_of(SMALL), other)
    wider = Arch.load("mobilenet_v3_small").scaled(1.25, 32).with_num_classes(5)
    with pytest.raises(NasError, match="with fewer channels"):
        cropped(checkpoint_of(SMALL), wider)
