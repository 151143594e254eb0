"""Every text file that is shipped loads, and the figures of the spaces are pinned."""

from pathlib import Path

import pytest
import torch

from nas.arch import Arch
from nas.baselines import scaled_baselines
from nas.cost import count_macs
from nas.latency.check import Check
from nas.latency.cost_model import CostModel
from nas.latency.settings import SPACES as MEASURED_SPACES
from nas.latency.table import LatencyTable
from nas.network.build import build
from nas.paths import SHIPPED
from nas.space import SearchSpace
from nas.text import read_json, read_yaml

SIZES = {
    "mnasnet": 104_485_552_128,
    "mobilenet_v3_large": 17_832_200_896_512,
    "mobilenet_v3_small": 27_088_846_848,
    "small_images": 13_436_928,
    "small_images_shared": 110_592,
    "tiny": 73_728,
}
N_LAYERS = {
    "mnasnet": 171,
    "mobilenet_v3_large": 292,
    "mobilenet_v3_small": 212,
    "small_images": 702,
    "small_images_shared": 162,
    "tiny": 116,
}
FOLDERS = ("conf", "search_spaces", "latency_tables")


def shipped(pattern: str) -> list[str]:
    return sorted(
        path.relative_to(SHIPPED).as_posix()
        for folder in FOLDERS
        for path in (SHIPPED / folder).rglob(pattern)
    )


def stems(folder: str, suffix: str) -> list[str]:
    return sorted(path.stem for path in (SHIPPED / folder).glob(f"*{suffix}"))


SPACES = stems("search_spaces", ".yaml")
BASELINES = stems("search_spaces/baselines", ".yaml")
CHECKS = [stem for stem in stems("latency_tables", ".csv") if stem.endswith(".check")]
TABLES = [stem for stem in stems("latency_tables", ".csv") if stem not in CHECKS]


@pytest.mark.parametrize("name", shipped("*.yaml"))
def test_yaml_is_readable(name: str) -> None:
    read_yaml(SHIPPED / name)


@pytest.mark.parametrize("name", shipped("*.json"))
def test_json_is_readable(name: str) -> None:
    read_json(SHIPPED / name)


def test_sizes_are_pinned_for_every_space() -> None:
    assert sorted(SIZES) == sorted(N_LAYERS) == SPACES


@pytest.mark.parametrize("name", SPACES)
def test_space_is_as_large_as_pinned(name: str) -> None:
    space = SearchSpace.load(name)
    assert space.name == name
    assert space.size == SIZES[name]
    assert len(space.layers()) == N_LAYERS[name]
    assert space.size <= space.n_choices


@pytest.mark.parametrize("name", SPACES)
def test_reference_of_a_space_is_a_baseline(name: str) -> None:
    space = SearchSpace.load(name)
    if space.reference is not None:
        assert Arch.load(space.reference).resolution == space.resolution


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_loads_and_builds(name: str) -> None:
    arch = Arch.load(name)
    assert (arch.name, arch.resolution, arch.num_classes) == (name, 224, 1000)
    with torch.device("meta"):
        assert len(build(arch).layers) == len(arch.layers)


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_is_written_as_save_writes_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    Arch.load(name).save(path)
    assert path.read_text() == (SHIPPED / "search_spaces/baselines" / path.name).read_text()


@pytest.mark.parametrize("name", TABLES)
def test_table_covers_all_spaces_and_baselines(name: str) -> None:
    table = LatencyTable.load(name)
    is_modelled = all(row.source == "modelled" for row in table.rows.values())
    for space in map(SearchSpace.load, SPACES if is_modelled else MEASURED_SPACES):
        assert table.missing(space) == ()
        low, high = table.bounds_ms(space)
        assert 0 < low < high
    for baseline in map(Arch.load, BASELINES):
        assert table.missing(baseline) == ()
        assert table.predict_ms(baseline) > 0


@pytest.mark.parametrize("name", TABLES)
def test_table_is_written_as_save_writes_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.csv"
    LatencyTable.load(name).save(path)
    assert path.read_text() == (SHIPPED / "latency_tables" / path.name).read_text()


@pytest.mark.parametrize("name", TABLES)
def test_table_says_where_it_is_from(name: str) -> None:
    header = LatencyTable.load(name).header
    for key in ("version", "device", "cpu", "runtime", "threads", "dtype"):
        assert header.get(key), f"no {key}"


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_that_of_its_table(name: str) -> None:
    path = SHIPPED / "latency_tables" / f"{name}.csv"
    table, check = LatencyTable.load(name.removesuffix(".check")), Check.load(path)
    assert check.header().items() <= table.header.items()
    assert Check.load(path).unseen
    predicted = {one.name: one.predicted_ms for one in check.networks if one.family == "baseline"}
    assert set(predicted) == set(BASELINES)
    for baseline in map(Arch.load, BASELINES):
        assert predicted[baseline.name] == pytest.approx(table.predict_ms(baseline), rel=1e-4)


@pytest.mark.parametrize("name", [name.removesuffix(".check") for name in CHECKS])
def test_a_checked_table_is_calibrated_and_true(name: str) -> None:
    table = LatencyTable.load(name)
    assert all(row.isolated_ms and row.std_ms for row in table.rows.values())
    assert float(table.header["check_mean_error_percent"]) < 5
    assert abs(float(table.header["check_bias_percent"])) < 1


@pytest.mark.parametrize("name", ["pixel_cpu", "pixel4_cpu", "pixel6_cpu"])
def test_pixel_table_is_what_its_cost_model_says(name: str) -> None:
    table, model = LatencyTable.load(name), CostModel.load(name)
    layers = list(table.rows)
    ms = [row.ms for row in table.rows.values()]
    assert ms == pytest.approx(list(model.predict_many_ms(layers)), abs=1e-6)
    assert {row.source for row in table.rows.values()} == {"modelled"}
    errors = model.provenance["mean_errors_percent"]["a fifth of the rows"]
    assert f"mbconv {errors['mbconv']:.2f} %" in table.header["error"]


@pytest.mark.parametrize("name", ["pixel_cpu", "pixel4_cpu", "pixel6_cpu"])
def test_pixel_table_covers_the_baselines_at_their_multipliers(name: str) -> None:
    table = LatencyTable.load(name)
    scaled = list(scaled_baselines())
    madds = {arch.name: count_macs(arch) for arch in scaled}
    # MobileNetV1's code lists 14 M for its smallest network, MnasNet's 12.7 M.
    assert round(madds["mobilenet_v1_w0.25_r128"] / 1e6) == 14
    assert madds["mnasnet_a1_w0.35_r96"] == pytest.approx(12.7e6, rel=0.03)
    assert [arch.name for arch in scaled if table.missing(arch)] == []
