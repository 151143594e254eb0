"""Search spaces against brute-force enumeration."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from nas.arch import Arch, Layer
from nas.cost import count_macs
from nas.errors import NasError
from nas.paths import SHIPPED, names
from nas.sections import squeeze_channels
from nas.space import SearchSpace

SPACES = names("search_spaces", ".yaml")
STEM = {"out": 8, "kernel": 3, "stride": 2, "act": "relu"}
STAGE = {
    "out": 8,
    "depth": 1,
    "stride": 1,
    "kernel": 3,
    "expand": 3,
    "se": 0,
    "act": "relu",
}
HEAD = {"conv": 16, "hidden": 0, "act": "hswish"}
SPACE = {
    "version": 1,
    "name": "small",
    "resolution": 32,
    "num_classes": 4,
    "stem": STEM,
    "stages": [STAGE],
    "head": HEAD,
}


def load(folder: Path, content: Mapping[str, Any]) -> SearchSpace:
    path = folder / "small.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return SearchSpace.load(path)


def space_of(folder: Path, *stages: Mapping[str, Any], **changes: Any) -> SearchSpace:
    return load(folder, {**SPACE, "stages": [{**STAGE, **stage} for stage in stages], **changes})


def every_arch(space: SearchSpace) -> Iterator[Arch]:
    for values in product(*space.choices.values()):
        yield space.arch(dict(zip(space.choices, values, strict=True)))


HAND_MADE: dict[str, tuple[list[dict[str, Any]], dict[str, Any], int]] = {
    "one network": ([{}], {}, 1),
    "kernels of one stage": ([{"kernel": [3, 5, 7], "depth": [1, 2]}], {}, 6),
    # 1+1, 1+2 = 2+1, 2+2 equal blocks
    "ambiguous border": ([{"depth": [1, 2]}, {"depth": [1, 2]}], {}, 3),
    "ambiguous border, three stages": ([{"depth": [1, 2, 3]}] * 3, {}, 7),
    # of two kernels: 4 pairs, 6 of 8 triples (a stage has one kernel), 4 of 16 quadruples
    "ambiguous border with kernels": ([{"depth": [1, 2], "kernel": [3, 5]}] * 2, {}, 14),
    "first expansion alone": (
        [{"depth": [1, 2], "first_expand": [3, 6], "expand": [3, 4]}],
        {},
        2 + 4,
    ),
    "expansions that round alike": ([{"out": 16, "expand": [3, 3.05, 3.1]}], {}, 1),
    "widths that round alike": ([{"out": 16, "width": [0.9, 1, 1.05, 1.5]}], {}, 2),
    "widths of the output": ([{"out": [8, 16, 24], "depth": [1, 2]}], {}, 6),
    "widths by several ways": ([{"out": [8, 16], "width": [1, 2]}], {}, 3),
    "strides": ([{"stride": [1, 2]}, {"stride": [1, 2]}], {}, 4),
    "squeeze of the input": (
        [{"out": 24, "se": [0, 0.25, 0.3]}],
        {"squeeze": "input"},
        2,
    ),
    "head without hidden layer": (
        [{}],
        {"head": {"conv": 0, "hidden": 0, "act": ["relu", "none"]}},
        1,
    ),
    "head of all kinds": (
        [{}],
        {"head": {"conv": [0, 16], "hidden": [0, 8], "act": ["relu", "none"]}},
        1 + 2 + 2 + 2,
    ),
    "stem": ([{}], {"stem": {**STEM, "out": [8, 16], "kernel": [3, 5], "stride": [1, 2]}}, 8),
    "se of a layer without choice": ([{"se": [0, 0.25], "act": ["relu", "hswish"]}], {}, 4),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_size_of_hand_made_spaces(case: str, tmp_path: Path) -> None:
    stages, changes, size = HAND_MADE[case]
    space = space_of(tmp_path, *stages, **changes)
    assert len({arch.key() for arch in every_arch(space)}) == size
    assert space.size == size


@pytest.mark.parametrize("case", HAND_MADE)
def test_extremes_and_layers_of_hand_made_spaces(case: str, tmp_path: Path) -> None:
    stages, changes, _ = HAND_MADE[case]
    space = space_of(tmp_path, *stages, **changes)
    archs = list(every_arch(space))
    macs = [count_macs(arch) for arch in archs]
    assert space.extreme(count_macs, min) == min(macs)
    assert space.extreme(count_macs, max) == max(macs)
    assert set(space.layers()) == {layer for arch in archs for layer in arch.layers}


def some(*values: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for one of the values, or a list of two different ones."""
    return st.sampled_from(values) | st.lists(
        st.sampled_from(values), min_size=1, max_size=2, unique=True
    )


STAGES = st.fixed_dictionaries(
    {
        "out": some(8, 16),
        "depth": some(1, 2, 3),
        "stride": some(1, 1, 2),
        "kernel": some(3, 5),
        "expand": some(1, 2, 3),
        "se": st.sampled_from([0, 0.25]),
        "act": st.just("relu"),
    },
    optional={"first_expand": some(2, 3), "width": some(1, 2)},
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STAGES, min_size=1, max_size=3))
def test_size_of_any_space(tmp_path: Path, stages: list[dict[str, Any]]) -> None:
    space = space_of(tmp_path, *stages)
    if space.n_choices <= 1000:
        archs = list(every_arch(space))
        assert space.size == len({arch.key() for arch in archs})
        assert set(space.layers()) == {layer for arch in archs for layer in arch.layers}


@pytest.mark.slow
def test_size_of_tiny_is_the_number_of_networks() -> None:
    space = SearchSpace.load("tiny")
    assert space.size == len({arch.layers for arch in every_arch(space)})


def test_size_of_a_deep_space_is_exact(tmp_path: Path) -> None:
    # 30 stages of one to 20 equal blocks are a run of 30 to 600 blocks.
    space = space_of(tmp_path, *[{"depth": list(range(1, 21))}] * 30)
    assert space.size == 600 - 30 + 1


@pytest.mark.slow
def test_size_of_a_wide_space_is_exact(tmp_path: Path) -> None:
    stage = {
        "depth": [1, 2, 3, 4],
        "kernel": [3, 5, 7, 9],
        "expand": [2, 3, 4, 5, 6, 7],
        "first_expand": [2, 3, 4, 5, 6, 7],
        "act": ["relu", "hswish"],
    }
    space = space_of(tmp_path, {**stage, "stride": 2}, {**stage, "stride": 2})
    # The first blocks alone: 4 kernels, 6 expansions, 2 activations; deeper ones: 6 times more.
    assert space.size == (4 * 2 * 6 * (1 + 3 * 6)) ** 2


@pytest.mark.parametrize("name", SPACES)
def test_random_networks_lie_inside(name: str) -> None:
    space = SearchSpace.load(name)
    inside = set(space.layers())
    low, high = space.extreme(count_macs, min), space.extreme(count_macs, max)
    for seed in range(200):
        arch = space.random(seed)
        assert set(arch.layers) <= inside
        assert low <= count_macs(arch) <= high
        assert arch.resolution == space.resolution


@pytest.mark.parametrize("name", SPACES)
def test_random_is_reproducible(name: str) -> None:
    space = SearchSpace.load(name)
    assert space.random(7) == space.random(7) == space.random(np.random.default_rng(7))
    rng = np.random.default_rng(7)
    assert len({space.random(rng).key() for _ in range(20)}) == 20


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.slow
def test_random_reaches_every_value(name: str) -> None:
    space = SearchSpace.load(name)
    rng = np.random.default_rng(0)
    seen = {layer for _ in range(2000) for layer in space.random(rng).layers}
    assert len(seen) >= 0.9 * len(space.layers())


@pytest.mark.parametrize("name", SPACES)
def test_sample_is_what_a_trial_chooses(name: str) -> None:
    space = SearchSpace.load(name)
    rng = np.random.default_rng(3)
    for _ in range(20):
        chosen = {key: values[rng.integers(len(values))] for key, values in space.choices.items()}
        trial = FixedTrial(chosen)
        assert space.sample(trial) == space.arch(chosen)
        assert trial.params == chosen


@pytest.mark.parametrize("name", SPACES)
def test_every_network_is_its_own_nearest(name: str) -> None:
    space = SearchSpace.load(name)
    for seed in range(5):
        arch = space.random(seed)
        assert space.arch(space.nearest(arch)) == arch


def test_nearest_as_by_brute_force(tmp_path: Path) -> None:
    choices = {"kernel": [3, 5], "expand": [2, 4], "se": [0, 0.25]}
    space = space_of(tmp_path, {**choices, "depth": [1, 2]}, {**choices, "stride": 2})
    lines = ("conv k3 3>8 s2 re @32", "mb k7 8>24>8 s1 re @16", "mb k3 8>32>8 s2 se8 re @16")
    ends = ("conv k1 8>16 s1 hs @8", "head 16>4 @8")
    wanted = Arch(name="wanted", layers=tuple(map(Layer.parse, (*lines, *ends))))

    def distance(arch: Arch) -> tuple[int, int]:
        pairs = list(zip(arch.layers, wanted.layers, strict=True))
        differing = sum(one != other for one, other in pairs)
        return differing, sum(abs(count_macs(a) - count_macs(b)) for a, b in pairs)

    same_depth = [a for a in every_arch(space) if len(a.layers) == len(wanted.layers)]
    nearest = space.arch(space.nearest(wanted))
    assert distance(nearest) == min(map(distance, same_depth))


def test_mobilenet_v3_large_lies_inside_but_for_one_width() -> None:
    space, wanted = SearchSpace.load("mobilenet_v3_large"), Arch.load("mobilenet_v3_large")
    nearest = space.arch(space.nearest(wanted))
    pairs = zip(wanted.layers, nearest.layers, strict=True)
    differing = [(str(one), str(other)) for one, other in pairs if one != other]
    assert differing == [("mb k3 80>200>80 s1 hs @14", "mb k3 80>184>80 s1 hs @14")]
    assert count_macs(wanted) - count_macs(nearest) == 14**2 * (80 + 9 + 80) * (200 - 184)


def test_mobilenet_v3_small_lies_inside() -> None:
    space, wanted = SearchSpace.load("mobilenet_v3_small"), Arch.load("mobilenet_v3_small")
    assert space.arch(space.nearest(wanted)).key() == wanted.key()


def test_a_network_of_other_stages_has_no_nearest() -> None:
    with pytest.raises(NasError, match="tiny holds no network with the stages of mobilenet_v1"):
        SearchSpace.load("tiny").nearest(Arch.load("mobilenet_v1"))


def test_squeeze_channels_by_hand() -> None:
    assert squeeze_channels(0, "input", 16, 64) == 0
    assert squeeze_channels(0.25, "input", 16, 64) == 4
    assert squeeze_channels(0.25, "input", 3, 12) == 1
    assert squeeze_channels(0.25, "expansion", 16, 64) == 16
    assert squeeze_channels(0.25, "expansion", 16, 72) == 24


def test_wrong_choices_are_errors() -> None:
    space = SearchSpace.load("tiny")
    chosen = {name: values[0] for name, values in space.choices.items()}
    with pytest.raises(NasError, match=r"unknown choice of tiny: 'stage1.kernle'. Did you mean"):
        space.arch({**chosen, "stage1.kernle": 3})
    with pytest.raises(NasError, match=r"unknown value of stage1.kernel '7'. Known: 3, 5"):
        space.arch({**chosen, "stage1.kernel": 7})
    del chosen["stage1.kernel"]
    with pytest.raises(NasError, match=r"the choices lack stage1.kernel; it may be 3, 5"):
        space.arch(chosen)


def stage(**changes: Any) -> dict[str, Any]:
    return {"stages": [STAGE, {**STAGE, **changes}]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"version": 2}, "must have version 1, but has 2"),
    "name": ({"name": ["a"]}, "name of"),
    "unknown key": ({"stage": []}, "unknown key 'stage'. Did you mean stages?"),
    "resolution": ({"resolution": 7}, "must be an integer from 8 to 2048, but is 7"),
    "resolution, text": ({"resolution": "32"}, "must be an integer from 8 to 2048, but is '32'"),
    "classes": ({"num_classes": 0}, "num_classes of"),
    "too many classes": ({"num_classes": 65537}, "must be an integer from 1 to 65536"),
    "in_channels": ({"in_channels": 0}, "in_channels of"),
    "scaling": ({"scaling": "v3"}, "unknown scaling of"),
    "reference": ({"reference": 3}, "reference of"),
    "squeeze": ({"squeeze": "output"}, "Known: expansion, input"),
    "no stages": ({"stages": []}, "must be a list of 1 to 30 stages, but is []"),
    "stages as mapping": ({"stages": STAGE}, "must be a list of 1 to 30 stages"),
    "too many stages": ({"stages": [STAGE] * 31}, "must be a list of 1 to 30 stages"),
    "stage as word": ({"stages": [STAGE, "same"]}, "stage2 must hold `key: value` lines"),
    "stage key": (stage(kernle=3), "stage2: unknown key 'kernle'. Did you mean kernel?"),
    "stem key": ({"stem": {**STEM, "expand": 1}}, "stem: unknown key 'expand'"),
    "head key": ({"head": {**HEAD, "dropout": 1}}, "head: unknown key 'dropout'"),
    "stem lacks": ({"stem": {"out": 8}}, "stem has no key 'kernel'"),
    "empty list": (stage(kernel=[]), "kernel of"),
    "repeated": (stage(kernel=[3, 5, 3]), "must list different values, but lists [3, 5, 3]"),
    "repeated number": (stage(expand=[3, 3.0]), "must list different values"),
    "even kernel": (stage(kernel=[3, 4]), "stage2 must be odd, but is 4"),
    "kernel text": (stage(kernel="3"), "stage2 must be an integer from 1 to 31, but is '3'"),
    "kernel number": (stage(kernel=3.0), "must be an integer from 1 to 31, but is 3.0"),
    "kernel truth": (stage(kernel=True), "must be an integer from 1 to 31, but is True"),
    "nested list": (stage(kernel=[[3]]), "must be an integer from 1 to 31, but is [3]"),
    "depth": (stage(depth=0), "must be an integer from 1 to 32, but is 0"),
    "stride": (stage(stride=5), "must be an integer from 1 to 4, but is 5"),
    "out": (stage(out=2049), "must be an integer from 1 to 2048, but is 2049"),
    "expand": (stage(expand=0.5), "must be a number from 1 to 16, but is 0.5"),
    "expand infinite": (stage(expand=10**400), "must be a number from 1 to 16, but is 1000000"),
    "expand text": (stage(expand="3"), "must be a number from 1 to 16, but is '3'"),
    "expand truth": (stage(expand=True), "must be a number from 1 to 16, but is True"),
    "first_expand": (stage(first_expand=17), "must be a number from 1 to 16, but is 17"),
    "se": (stage(se=[0, 1.5]), "must be a number from 0 to 1, but is 1.5"),
    "width": (stage(width=0), "must be a number from 0.1 to 2, but is 0"),
    "act": (stage(act=["relu", "swish"]), "stage2: 'swish'. Did you mean hswish?"),
    "act number": (stage(act=6), "Known: hswish, none, relu, relu6"),
    "act null": (stage(act=None), "Known: hswish, none, relu, relu6"),
    "conv": ({"head": {**HEAD, "conv": -1}}, "must be an integer from 0 to 8192, but is -1"),
    "options": (
        stage(out=list(range(1, 2000)), kernel=list(range(1, 32, 2))),
        "stage2 must have at most 20,000 options, but has 31,984",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_file_is_one_error(case: str, tmp_path: Path) -> None:
    change, reason = WRONG[case]
    with pytest.raises(NasError) as caught:
        load(tmp_path, {**SPACE, **change})
    assert reason in str(caught.value)
    assert "small.yaml" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["version", "name", "resolution", "num_classes", "stem", "head"])
def test_missing_key_is_an_error(key: str, tmp_path: Path) -> None:
    content: dict[str, Any] = {**SPACE}
    del content[key]
    with pytest.raises(NasError, match=f"has no key '{key}'"):
        load(tmp_path, content)


def test_widest_space_holds_valid_networks(tmp_path: Path) -> None:
    widest = {"out": 2048, "width": 2, "expand": 16, "se": 1, "depth": 32}
    head = {"conv": 8192, "hidden": 8192, "act": "relu"}
    space = space_of(tmp_path, *[widest] * 30, head=head, num_classes=65536)
    assert len(space.random(0).layers) == 30 * 32 + 3


@pytest.mark.parametrize("name", SPACES)
def test_truncated_space_is_refused_or_valid(name: str, tmp_path: Path) -> None:
    whole = (SHIPPED / "search_spaces" / f"{name}.yaml").read_bytes()
    path = tmp_path / "small.yaml"
    for end in range(0, len(whole), 40):
        path.write_bytes(whole[:end])
        try:
            SearchSpace.load(path).random(0)
        except NasError as error:
            assert "small.yaml" in str(error)
