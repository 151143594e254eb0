"""What is timed beside the layers: apart from each other, covering, and the same every time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from nas.arch import Arch, Layer
from nas.baselines import baselines
from nas.latency.subjects import Probes, Subject, choose_chains, choose_probes
from nas.space import SearchSpace

LARGE = SearchSpace.load("mobilenet_v3_large")
SMALL = SearchSpace.load("mobilenet_v3_small")


@pytest.fixture(scope="module")
def probes() -> Probes:
    return choose_probes([LARGE], baselines(), n_calibration=60, n_check=30, seed=1)


def _networks(subjects: tuple[Subject, ...]) -> list[Subject]:
    return [one for one in subjects if one.is_network]


@pytest.mark.slow
def test_no_calibration_network_is_checked_on(probes: Probes) -> None:
    calibration = {one.layers for one in _networks(probes.calibration)}
    checked = [one.layers for one in (*probes.unseen, *probes.baselines.values())]
    assert (len(calibration), len(probes.unseen), len(set(checked))) == (60, 30, len(checked))
    assert not calibration & set(checked)
    assert set(probes.baselines) == {arch.name for arch in baselines()}


@pytest.mark.slow
def test_the_same_seed_chooses_the_same(probes: Probes) -> None:
    again = choose_probes([LARGE], baselines(), n_calibration=60, n_check=30, seed=1)
    assert again == probes
    other = choose_probes([LARGE], baselines(), n_calibration=60, n_check=30, seed=2)
    assert not {one.name for one in other.unseen} & {one.name for one in probes.unseen}


def test_calibration_covers_rows_that_plain_draws_leave_out(probes: Probes) -> None:
    def n_covered(layers: list[Layer]) -> int:
        return len(set(layers) & set(LARGE.layers()))

    covered = n_covered([x for one in _networks(probes.calibration) for x in one.layers])
    rng = np.random.default_rng(0)
    plain = n_covered([x for _ in range(60) for x in LARGE.random(rng).layers])
    assert covered > plain + 15
    assert covered >= 0.98 * len(LARGE.layers())


def test_chains_fit_and_cover_the_rows_of_the_baselines_too(probes: Probes) -> None:
    chains = [one for one in probes.calibration if not one.is_network]
    assert len(chains) == 60
    for chain in chains:
        assert 2 <= len(chain.layers) <= 3
        for before, after in pairwise(chain.layers):
            assert (before.out_size, before.out_channels) == (after.size, after.in_channels)
    assert any(layer.op == "separable" for chain in chains for layer in chain.layers)
    whole = {arch.layers for arch in baselines()}
    assert not {chain.layers for chain in chains} & whole


def test_chains_are_spread_evenly() -> None:
    layers = LARGE.layers()
    chains = choose_chains(layers, 150, np.random.default_rng(0))
    counts = Counter(layer for chain in chains for layer in chain.layers)
    assert all(counts[layer] for layer in layers if layer.op == "mbconv")
    assert len({chain.name for chain in chains}) == 150


def test_a_lone_layer_is_in_no_chain() -> None:
    layer = Layer.parse("mb k3 16>64>24 s2 re @112")
    assert choose_chains([layer], 5, np.random.default_rng(0)) == []


def test_networks_come_from_all_spaces() -> None:
    probes = choose_probes([LARGE, SMALL], [], n_calibration=0, n_check=20, seed=0)
    in_small = [one for one in probes.unseen if set(one.layers) <= set(SMALL.layers())]
    assert len(in_small) == 10


def test_nothing_is_chosen_where_nothing_is_wanted() -> None:
    assert choose_probes([LARGE], baselines(), n_calibration=0, n_check=0, seed=0).all == ()


def test_a_space_with_few_networks_gives_what_it_has(tmp_path: object) -> None:
    arch = Arch.load("mobilenet_v3_small")
    single = SearchSpace.load("tiny")
    probes = choose_probes([single], [arch], n_calibration=5, n_check=5, seed=0)
    names = [one.name for one in probes.all]
    assert len(names) == len(set(names)) == 5 + 5 + 5 + 1


def test_subjects_are_named_by_what_they_hold() -> None:
    arch = Arch.load("mobilenet_v3_small")
    assert Subject.of_network(arch).name == f"net {arch.key()}"
    first, second = arch.layers[:2]
    assert Subject.of_layers(first).name == str(first)
    assert Subject.of_layers(first).is_layer
    assert Subject.of_layers(first, second).name == f"{first} | {second}"
