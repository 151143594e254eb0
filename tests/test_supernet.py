"""The supernet: what it shares, and that a network on shared weights is the network itself."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.arch import Arch, Layer
from nas.cost import count_macs
from nas.errors import NasError
from nas.network.build import build
from nas.network.supernet.places import cover, places_of
from nas.network.supernet.shared import SharedKernel
from nas.network.supernet.supernet import Supernet
from nas.paths import names
from nas.space import SearchSpace
from nas.training.supernet_fit import Sandwich, extreme

SPACES = names("search_spaces", ".yaml")
CHOICES_EVERYWHERE = """
version: 1
name: everything
resolution: 16
num_classes: 7
in_channels: 1
stem: {out: [8, 12], kernel: [1, 5], stride: [1, 2], act: [relu, hswish, none]}
stages:
  - {out: [8, 16], depth: [1, 2], stride: [1, 2], kernel: [3, 7], expand: [1, 3], se: [0, 0.25, 0.5], act: [relu6, relu]}
  - {out: 16, depth: [1, 2], stride: 1, kernel: [3, 5], first_expand: [2, 3], expand: [1, 3], se: 0.25, act: relu, width: [0.5, 1]}
head: {conv: [0, 24, 32], hidden: [0, 12, 20], act: [relu, hswish]}
"""  # noqa: E501


def small(arch: Arch) -> Arch:
    return arch.scaled(0.25, 32).with_num_classes(5)


@lru_cache
def supernet_of(space: SearchSpace, adapt: Callable[[Arch], Arch] = small) -> Supernet:
    """Return a supernet whose every weight matters, norms and transforms included."""
    torch.manual_seed(0)
    supernet = Supernet(space, adapt)
    with torch.no_grad():
        for one in supernet.parameters():
            one.add_(0.1 * torch.randn_like(one))
    return supernet.train()


@pytest.fixture
def everything(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "everything.yaml"
    path.write_text(CHOICES_EVERYWHERE)
    return SearchSpace.load(path)


def tiny(**chosen: object) -> Arch:
    space = SearchSpace.load("tiny")
    return space.arch({name: values[-1] for name, values in space.choices.items()} | chosen)


def check_equal(supernet: Supernet, arch: Arch) -> None:
    adapted = small(arch)
    images = torch.randn(3, adapted.layers[0].in_channels, 32, 32)
    with torch.no_grad():
        shared = supernet(images, arch)
        alone = supernet.extract(arch).train()(images)
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-5)
    assert shared.std() > 1e-3


@pytest.mark.parametrize("name", SPACES)
def test_shared_and_extracted_networks_agree(name: str) -> None:
    space = SearchSpace.load(name)
    for seed in range(3):
        check_equal(supernet_of(space), space.random(seed))


@pytest.mark.slow
def test_they_agree_where_everything_is_a_choice(everything: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        check_equal(supernet_of(everything), everything.random(rng))


def test_an_extracted_network_is_the_built_one_and_a_copy() -> None:
    arch, supernet = tiny(), supernet_of(SearchSpace.load("tiny"))
    network = supernet.extract(arch)
    expected = build(small(arch)).state_dict()
    assert {name: one.shape for name, one in network.state_dict().items()} == {
        name: one.shape for name, one in expected.items()
    }
    owned = {one.untyped_storage().data_ptr() for one in supernet.parameters()}
    assert not owned & {one.untyped_storage().data_ptr() for one in network.parameters()}


def test_statistics_are_the_batch_s_own_also_when_judged() -> None:
    supernet, arch = supernet_of(SearchSpace.load("tiny")), tiny()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        trained = supernet(images, arch)
        judged = supernet.eval()(images, arch)
    supernet.train()
    torch.testing.assert_close(trained, judged)


def weights(arch: Arch, part: str) -> Tensor:
    found: Tensor = supernet_of(SearchSpace.load("tiny")).extract(arch).state_dict()[part]
    return found


def test_narrower_layers_are_the_first_channels() -> None:
    part = "layers.2.body.project.conv.weight"
    wide = weights(tiny(**{"stage2.expand": 6}), part)
    narrow = weights(tiny(**{"stage2.expand": 3}), part)
    assert narrow.shape[1] < wide.shape[1]
    assert torch.equal(narrow, wide[:, : narrow.shape[1]])


def test_shallower_stages_are_the_first_blocks() -> None:
    deep, flat = tiny(**{"stage2.depth": 2}), tiny(**{"stage2.depth": 1})
    for part in ("depthwise.conv.weight", "project.norm.bias"):
        held = weights(flat, f"layers.3.body.{part}")
        assert torch.equal(weights(deep, f"layers.4.body.{part}"), held)


def test_a_block_without_expansion_shares_nothing() -> None:
    space = SearchSpace.load("tiny")
    keys = set(supernet_of(space).places)
    assert {"stage1_0_plain", "stage1_0_mbconv"} <= keys


def test_activations_share_convolutions_and_not_norms() -> None:
    relu, hswish = tiny(**{"stage2.act": "relu"}), tiny(**{"stage2.act": "hswish"})
    conv, norm = "layers.2.body.expand.conv.weight", "layers.2.body.expand.norm.weight"
    assert torch.equal(weights(relu, conv), weights(hswish, conv))
    assert not torch.equal(weights(relu, norm), weights(hswish, norm))


def test_squeeze_and_excite_lies_beside_the_shared_convolutions() -> None:
    with_se, without = tiny(**{"stage2.se": 0.25}), tiny(**{"stage2.se": 0})
    part = "layers.2.body.depthwise.conv.weight"
    assert torch.equal(weights(with_se, part), weights(without, part))


def test_a_smaller_kernel_by_hand() -> None:
    torch.manual_seed(0)
    shared = SharedKernel(4, 2, [3, 7, 5])
    with torch.no_grad():
        for one in shared.transforms:
            one.normal_()
        found = shared(3, 1, 3)
        five, three = shared.transforms[0].numpy(), shared.transforms[1].numpy()
    large = shared.weight.detach().numpy()[:3, :1]
    middle = large[:, :, 1:6, 1:6].reshape(3, 1, 25) @ (np.eye(25) + five)
    centre = middle.reshape(3, 1, 5, 5)[:, :, 1:4, 1:4].reshape(3, 1, 9)
    expected = (centre @ (np.eye(9) + three)).reshape(3, 1, 3, 3)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_fresh_kernels_are_plain_centres() -> None:
    shared = SharedKernel(4, 2, [3, 7])
    assert torch.equal(shared(4, 2, 3), shared.weight[:, :, 2:5, 2:5])


def test_gradients_reach_what_a_network_holds_and_nothing_else() -> None:
    supernet = supernet_of(SearchSpace.load("tiny"))
    supernet.zero_grad()
    arch = tiny(**{"stage3.expand": 3, "stage3.kernel": 5, "stage2.depth": 1})
    supernet(torch.randn(4, 3, 32, 32), arch).square().sum().backward()
    assert supernet.get_parameter("places.stage2_1_mbconv.body.project.conv.weight").grad is None
    gradient = supernet.get_parameter("places.stage3_0_mbconv.body.depthwise.conv.weight").grad
    assert gradient is not None
    held = small(arch).layers[3].mid_channels
    assert held < len(gradient)
    assert gradient[:held].abs().amin(dim=(1, 2, 3)).min() > 0
    assert torch.equal(gradient[held:], torch.zeros_like(gradient[held:]))


@pytest.mark.parametrize("name", SPACES)
def test_places_are_those_that_the_choices_say(name: str) -> None:
    space = SearchSpace.load(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        chosen = {key: v[rng.integers(len(v))] for key, v in space.choices.items()}
        expected = list[str]()
        for part in space.sections:
            values = dict(zip((key for key, _ in part.options), part.pick(chosen), strict=True))
            n_layers = values.get("depth", 1 + (part.kind == "head" and values["conv"] > 0))
            expected += [f"{part.name}_{index}" for index in range(n_layers)]
        assert places_of(space, space.arch(chosen)) == tuple(expected)


@pytest.mark.parametrize("name", SPACES)
def test_cover_holds_every_layer(name: str) -> None:
    space = SearchSpace.load(name)
    assert {layer for arch, _ in cover(space) for layer in arch.layers} == set(space.layers())


def test_a_border_that_can_be_drawn_twice_is_drawn_once(everything: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    found: dict[str, object] = {}
    for _ in range(300):
        arch = everything.random(rng)
        places = places_of(everything, arch)
        assert places is not None
        assert found.setdefault(arch.key(), places) == places


@pytest.mark.parametrize(
    "arch",
    [
        Arch.load("mobilenet_v3_small"),
        tiny().scaled(1.0, 64),
        tiny().scaled(0.5),
        Arch(name="cut", layers=(*tiny().layers[:3], Layer.parse("head 24>10 @8"))),
    ],
)
def test_other_networks_are_not_of_the_space(arch: Arch) -> None:
    supernet = supernet_of(SearchSpace.load("tiny"))
    assert not supernet.holds(arch)
    with pytest.raises(NasError, match=r"must be a network of the space tiny"):
        supernet.extract(arch)


def test_the_number_of_classes_is_no_matter() -> None:
    supernet = supernet_of(SearchSpace.load("tiny"))
    assert supernet.holds(tiny().with_num_classes(1000))


def test_a_step_trains_the_largest_the_smallest_and_random_ones() -> None:
    space, rng = SearchSpace.load("tiny"), np.random.default_rng(0)
    drawn = [Sandwich(n_random=3).archs(space, rng) for _ in range(30)]
    assert {len(archs) for archs in drawn} == {5}
    for best, which in ((max, 0), (min, 1)):
        bound = space.extreme(count_macs, best)
        assert best(sum(map(count_macs, archs[which].layers)) for archs in drawn) == bound
        assert len({archs[which].key() for archs in drawn}) > 5  # activations and SE vary
    assert len({archs[2].key() for archs in drawn}) > 25


def test_without_the_largest_and_smallest_all_are_random() -> None:
    space = SearchSpace.load("tiny")
    one = Sandwich(n_random=1, is_bare=True).archs(space, np.random.default_rng(3))
    assert one == [space.random(np.random.default_rng(3))]


def test_extremes_keep_a_fixed_choice() -> None:
    space = SearchSpace.load("mnasnet")
    arch = extreme(space, np.random.default_rng(0), max)
    assert {layer.act for layer in arch.layers[:-1]} == {"relu6"}
    assert isinstance(supernet_of(space), nn.Module)
