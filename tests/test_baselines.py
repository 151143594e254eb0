"""The hand-designed networks: every figure beside them names one of them and is sane."""

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from nas.arch import Arch
from nas.baselines import FOLDER, baselines, published_top1, scaled_baselines
from nas.paths import SHIPPED

NAMES = sorted(path.stem for path in (SHIPPED / FOLDER).glob("*.yaml"))


def rows(name: str) -> list[dict[str, str]]:
    with (SHIPPED / FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


PUBLISHED = rows("published_top1")
MULTIPLIERS = rows("multipliers")


def test_every_arch_file_is_a_baseline() -> None:
    assert [arch.name for arch in baselines()] == NAMES


@pytest.mark.parametrize("table", [PUBLISHED, MULTIPLIERS], ids=["published", "multipliers"])
def test_tables_name_each_baseline_once(table: list[dict[str, str]]) -> None:
    named = [row["name"] for row in table]
    assert len(named) == len(set(named))
    assert set(named) <= set(NAMES)
    assert all(row["source"] for row in table)


def test_every_baseline_has_its_multipliers() -> None:
    assert {row["name"] for row in MULTIPLIERS} == set(NAMES)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["name"])
def test_published_top1_is_a_percentage_and_the_one_returned(row: dict[str, str]) -> None:
    assert 50 < float(row["top1"]) < 80
    assert published_top1(row["name"]) == float(row["top1"])


@pytest.mark.parametrize("name", ["mobilenet_v3_large_minimalistic", "mine", ""])
def test_nothing_is_published_of_others(name: str) -> None:
    assert published_top1(name) is None


@pytest.mark.parametrize("row", MULTIPLIERS, ids=lambda row: row["name"])
def test_multipliers_are_sane_and_hold_the_network_itself(row: dict[str, str]) -> None:
    widths = [Fraction(word) for word in row["widths"].split()]
    resolutions = [int(word) for word in row["resolutions"].split()]
    assert widths == sorted(set(widths))
    assert resolutions == sorted(set(resolutions))
    assert 1 in widths
    assert Arch.load(row["name"]).resolution in resolutions
    assert all(Fraction(1, 4) <= width <= 2 for width in widths)
    assert all(size % 32 == 0 and 96 <= size <= 320 for size in resolutions)


def test_scaled_baselines_cover_every_pair() -> None:
    wanted = [
        Arch.load(row["name"]).scaled(float(width), int(resolution)).key()
        for row in MULTIPLIERS
        for width in row["widths"].split()
        for resolution in row["resolutions"].split()
    ]
    found = [arch.key() for arch in scaled_baselines()]
    assert sorted(found) == sorted(wanted)
    assert len(set(found)) == len(found)
    assert {arch.key() for arch in baselines()} <= set(found)


def test_a_users_own_baseline_is_used_at_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)
    mine = replace(Arch.load("mobilenet_v2").scaled(0.75, 192), name="mine")
    mine.save(tmp_path / FOLDER / "mine.yaml")
    assert sorted([*NAMES, "mine"]) == [arch.name for arch in baselines()]
    own = [arch for arch in scaled_baselines() if arch.name == "mine"]
    assert [arch.key() for arch in own] == [mine.key()]
