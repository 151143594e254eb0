"""Width and resolution multipliers against the families' published sizes."""

import csv
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.arch import Arch
from nas.cost import count_macs, count_params
from nas.errors import NasError
from nas.ops import ops_of
from nas.paths import names
from nas.scaling import make_divisible

BASELINES = names("search_spaces/baselines", ".yaml")
PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "published_models.csv"


@pytest.mark.parametrize(
    ("name", "width", "resolution", "macs_m", "params_m"),
    [
        # arXiv:1704.04861, tables 6 and 7
        ("mobilenet_v1", 0.75, 224, 325, 2.6),
        ("mobilenet_v1", 0.5, 224, 149, 1.3),
        ("mobilenet_v1", 0.25, 224, 41, 0.5),
        ("mobilenet_v1", 1.0, 192, 418, 4.2),
        ("mobilenet_v1", 1.0, 160, 290, 4.2),
        ("mobilenet_v1", 1.0, 128, 186, 4.2),
        # arXiv:1905.02244, table 3; the parameters counted
        ("mobilenet_v3_large", 0.75, 224, 155, 3.99),
        ("mobilenet_v3_small", 0.75, 224, 44, 2.04),
    ],
)
def test_published_sizes(
    name: str, width: float, resolution: int, macs_m: float, params_m: float
) -> None:
    arch = Arch.load(name).scaled(width, resolution)
    # The papers round up as well as down.
    assert abs(count_macs(arch) / 1e6 - macs_m) < 1
    digits = len(str(params_m).partition(".")[2])
    assert round(count_params(arch) / 1e6, digits) == params_m


def published(model: str, source: str) -> Iterator[tuple[Arch, float, float]]:
    """Yield the scaled networks of a source with its MAdds and parameters, in millions."""
    baseline = {"V1": "mobilenet_v1", "V2": "mobilenet_v2", "MnasNet-A1": "mnasnet_a1"}[model]
    with PUBLISHED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["model"], row["source"]) == (model, source):
                arch = Arch.load(baseline).scaled(float(row["width"]), int(row["resolution"]))
                yield arch, float(row["madds_m"]), float(row["params_m"])


needs_data = pytest.mark.skipif(not PUBLISHED.is_file(), reason="the data set is not there")


@needs_data
def test_mobilenet_v2_agrees_with_its_authors() -> None:
    for arch, macs_m, params_m in published("V2", "S1"):
        norms = sum(
            2 * op.out_channels
            for layer in arch.layers
            for op in ops_of(layer)
            if op.kind in ("conv", "depthwise")
        )
        # The authors round MAdds down and count no batch-norm.
        assert int(count_macs(arch) / 1e6) == macs_m
        assert round((count_params(arch) - norms) / 1e6, 2) == pytest.approx(params_m, abs=0.011)


@needs_data
def test_mobilenet_v1_agrees_with_its_authors() -> None:
    for arch, macs_m, params_m in published("V1", "S3"):
        assert count_params(arch) / 1e6 == pytest.approx(params_m, abs=0.01)
        if arch.name.startswith("mobilenet_v1_w0.75") or arch.name == "mobilenet_v1_w0.25_r192":
            continue  # The paper itself gives 325 M for 0.75; these rows agree with no count.
        assert abs(count_macs(arch) / 1e6 - macs_m) < 1


@needs_data
def test_mnasnet_agrees_with_its_authors() -> None:
    for arch, macs_m, params_m in published("MnasNet-A1", "S6"):
        assert round(count_params(arch) / 1e6, 1) == params_m
        # The authors' count includes what is no convolution: 1 to 3 % more.
        assert 0.97 < count_macs(arch) / 1e6 / macs_m < 1


@given(st.floats(0.1, 70_000))
def test_make_divisible_as_in_the_paper(value: float) -> None:
    rounded = make_divisible(value)
    assert rounded % 8 == 0
    assert rounded >= max(8, 0.9 * value)
    assert rounded <= max(8, 1.1 * value + 8)


@pytest.mark.parametrize(
    ("value", "rounded"), [(1, 8), (8, 8), (11.9, 16), (12, 16), (18, 24), (20, 24), (90, 88)]
)
def test_make_divisible_by_hand(value: float, rounded: int) -> None:
    assert make_divisible(value) == rounded


@pytest.mark.parametrize("name", BASELINES)
def test_every_width_and_resolution_gives_a_network(name: str) -> None:
    arch = Arch.load(name)
    sizes = []
    for percent in range(10, 401, 15):
        for resolution in (8, 33, 224, 2048):
            scaled = arch.scaled(percent / 100, resolution)
            assert scaled.resolution == resolution
            assert scaled.num_classes == arch.num_classes
        sizes.append(count_macs(arch.scaled(percent / 100)))
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", BASELINES)
def test_no_scaling_changes_nothing(name: str) -> None:
    arch = Arch.load(name)
    assert arch.scaled() == arch.scaled(1.0, arch.resolution) == arch


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("width", [0.35, 1.4])
def test_scaling_keeps_the_structure(name: str, width: float) -> None:
    arch = Arch.load(name)
    for before, after in zip(arch.layers, arch.scaled(width).layers, strict=True):
        for field in ("op", "size", "kernel", "stride", "act", "linear"):
            assert getattr(before, field) == getattr(after, field)
        assert bool(before.se) == bool(after.se)
        if before.op == "mbconv":
            has_expansion = before.mid_channels != before.in_channels
            assert (after.mid_channels != after.in_channels) == has_expansion


def test_names_tell_width_and_resolution() -> None:
    arch = Arch.load("mobilenet_v2")
    assert arch.scaled(0.5, 160).name == "mobilenet_v2_w0.5_r160"
    assert arch.scaled(resolution=160).name == "mobilenet_v2_r160"
    assert arch.scaled(1.4).name == "mobilenet_v2_w1.4"


def test_last_layers_follow_the_family() -> None:
    def ends(name: str, width: float) -> tuple[int, int]:
        layers = Arch.load(name).scaled(width).layers
        return layers[-2].out_channels, layers[-1].mid_channels

    assert ends("mobilenet_v2", 0.5) == (1280, 0)
    assert ends("mobilenet_v2", 1.4) == (1792, 0)
    assert ends("mnasnet_a1", 1.4) == (1280, 0)
    assert ends("mobilenet_v3_large", 0.75) == (720, 1280)
    assert ends("mobilenet_v3_small", 0.75) == (432, 1024)


@pytest.mark.parametrize("width", [0.0, -1.0, 0.09, 4.1, nan, inf])
def test_width_out_of_range_is_an_error(width: float) -> None:
    with pytest.raises(NasError, match=rf"width must be from 0.1 to 4, but is {width}"):
        Arch.load("mobilenet_v1").scaled(width)


@pytest.mark.parametrize("resolution", [0, -224, 7, 2049])
def test_resolution_out_of_range_is_an_error(resolution: int) -> None:
    with pytest.raises(NasError, match=rf"from 8 to 2048 pixels, but is {resolution}"):
        Arch.load("mobilenet_v1").scaled(1.0, resolution)
