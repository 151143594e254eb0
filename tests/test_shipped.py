"""Every text file that is shipped loads, and the figures of the spaces are pinned."""

from pathlib import Path

import pytest
import torch

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.network.build import build
from nas.paths import SHIPPED
from nas.space import SearchSpace
from nas.text import read_json, read_yaml

SIZES = {
    "mnasnet": 104_485_552_128,
    "mobilenet_v3_large": 17_832_200_896_512,
    "mobilenet_v3_small": 27_088_846_848,
    "tiny": 73_728,
}
N_LAYERS = {"mnasnet": 171, "mobilenet_v3_large": 292, "mobilenet_v3_small": 212, "tiny": 116}
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
TABLES = stems("latency_tables", ".csv")


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
    for space in map(SearchSpace.load, SPACES):
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
