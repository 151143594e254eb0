"""Latency tables: sums by hand, bounds by brute force, and one clear error for a broken file."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.table import COLUMNS, LatencyTable, Row
from nas.paths import names
from nas.space import SearchSpace

HEADER = {"version": "1", "device": "test", "runtime": "none 1.0: by hand"}
LINES = ("conv k3 3>16 s2 hs @32", "mb k3 16>48>16 s1 se8 re @16", "head 16>10 @16")
ARCH = Arch(name="net", layers=tuple(map(Layer.parse, LINES)))


def table_of(layers: tuple[Layer, ...], seed: int = 0) -> LatencyTable:
    times = np.random.default_rng(seed).uniform(0.01, 5, len(layers)).round(6).tolist()
    rows = {
        layer: Row(layer=layer, ms=ms, iqr_ms=ms / 8, n=25)
        for layer, ms in zip(layers, times, strict=True)
    }
    return LatencyTable(name="test", header=HEADER, rows=rows)


TINY = SearchSpace.load("tiny")
TABLE = table_of(TINY.layers())


def hand_sum(arch: Arch) -> float:
    total = 0.0
    for layer in arch.layers:
        total += TABLE.rows[layer].ms
    return total


@given(st.integers(0, 10**6))
def test_prediction_is_the_sum_over_the_rows(seed: int) -> None:
    arch = TINY.random(seed)
    assert TABLE.predict_ms(arch) == pytest.approx(hand_sum(arch), rel=1e-12)
    assert TABLE.layer_ms(arch) == tuple(TABLE.rows[layer].ms for layer in arch.layers)


def test_many_predictions_are_the_single_ones() -> None:
    archs = [TINY.random(seed) for seed in range(200)]
    many = TABLE.predict_many_ms(archs)
    assert many.dtype == np.float64
    np.testing.assert_allclose(many, [TABLE.predict_ms(arch) for arch in archs], rtol=1e-12)
    assert TABLE.predict_many_ms([]).shape == (0,)
    assert TABLE.predict_many_ms(archs[:1]).shape == (1,)


def test_bounds_are_those_of_brute_force() -> None:
    # Every section of tiny begins with the same channels and size, whatever came before it.
    costs = [
        {sum(TABLE.rows[layer].ms for layer in variant) for variant in variants}
        for variants in TINY.walk()
    ]
    totals = [sum(chosen) for chosen in product(*costs)]
    assert len(totals) == TINY.size
    low, high = TABLE.bounds_ms(TINY)
    assert (low, high) == pytest.approx((min(totals), max(totals)), rel=1e-12)
    many = TABLE.predict_many_ms([TINY.random(seed) for seed in range(1000)])
    assert low <= many.min() < many.max() <= high


def without(table: LatencyTable, *layers: Layer) -> LatencyTable:
    rows = {layer: row for layer, row in table.rows.items() if layer not in layers}
    return LatencyTable(name="small", header=table.header, rows=rows)


def test_missing_layers_are_listed_once() -> None:
    first, second, *_ = TINY.layers()
    table = without(TABLE, first, second)
    assert table.missing(TINY) == (first, second)
    assert table.missing([second, first, second]) == (second, first)
    assert TABLE.missing(TINY) == ()
    assert TABLE.missing(ARCH) == tuple(x for x in ARCH.layers if x not in TABLE.rows)


def test_a_missing_row_is_an_error_with_the_command() -> None:
    gap = TINY.layers()[-1]
    table = without(TABLE, gap)
    arch = TINY.random(0)
    message = (
        rf"table small has no row for 1 layers of .+ \(first: {gap}\)\. "
        rf".*python -m nas\.latency \+hardware={TABLE.header['device']} "
    )
    with pytest.raises(NasError, match=message):
        table.predict_ms(arch)
    with pytest.raises(NasError, match=message):
        table.layer_ms(arch)
    with pytest.raises(NasError, match=message):
        table.predict_many_ms([arch])
    with pytest.raises(NasError, match=message):
        table.bounds_ms(TINY)
    with pytest.raises(NasError, match=message):
        table.require([gap], "tiny")


def test_saved_table_loads_equal(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    TABLE.save(path)
    loaded = LatencyTable.load(path)
    assert loaded.name == "test"
    assert loaded.header == HEADER
    assert list(loaded.rows) == list(TABLE.rows)
    for layer, row in TABLE.rows.items():
        assert loaded.rows[layer].ms == row.ms
        assert loaded.rows[layer].iqr_ms == pytest.approx(row.iqr_ms, abs=1e-6)
        assert replace(loaded.rows[layer], iqr_ms=0) == replace(row, iqr_ms=0)


@pytest.mark.parametrize("name", names("search_spaces/baselines", ".yaml"))
def test_layers_of_baselines_survive_a_file(name: str, tmp_path: Path) -> None:
    table = table_of(tuple(dict.fromkeys(Arch.load(name).layers)))
    table.save(tmp_path / "test.csv")
    assert list(LatencyTable.load(tmp_path / "test.csv").rows) == list(table.rows)


def test_header_is_written_on_one_line_each_with_a_version(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    header = {"note": "two\nlines,  \u2028 and more"}
    LatencyTable(name="test", header=header, rows=TABLE.rows).save(path)
    assert LatencyTable.load(path).header == {"version": "1", "note": "two lines, and more"}


def test_own_table_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latency_tables").mkdir()
    TABLE.save(tmp_path / "latency_tables" / "mine.csv")
    monkeypatch.chdir(tmp_path)
    assert LatencyTable.load("mine").name == "mine"
    with pytest.raises(NasError, match=r"unknown name in latency_tables/ 'min'. Did you mean mine"):
        LatencyTable.load("min")


GOOD = "conv,32,3,0,16,3,2,0,hswish,0,1,1.5,0.1,10,measured"


def changed(**cells: str) -> str:
    row = dict(zip(COLUMNS, GOOD.split(","), strict=True))
    return ",".join((row | cells).values())


def file_of(*rows: str, head: str = "# version: 1\n# device: test\n") -> str:
    return head + "\n".join([",".join(COLUMNS), *rows, ""])


BROKEN = {
    "ms negative": (file_of(changed(ms="-1")), "line 4: ms must be a finite number of at least 0"),
    "ms zero": (file_of(changed(ms="0")), "line 4: ms must be above 0, but is 0"),
    "ms NaN": (
        file_of(changed(ms="nan")),
        "ms must be a finite number of at least 0, but is 'nan'",
    ),
    "ms infinite": (file_of(changed(ms="inf")), "ms must be a finite number"),
    "ms overflow": (file_of(changed(ms="1e999")), "ms must be a finite number"),
    "ms text": (
        file_of(changed(ms="fast")),
        "ms must be a finite number of at least 0, but is 'fast'",
    ),
    "ms empty": (file_of(changed(ms="")), "ms must be a finite number of at least 0, but is ''"),
    "iqr negative": (file_of(changed(iqr_ms="-0.1")), "iqr_ms must be a finite number"),
    "n negative": (file_of(changed(n="-1")), "n must be a whole number, but is '-1'"),
    "n fraction": (file_of(changed(n="1.5")), "n must be a whole number, but is '1.5'"),
    "kernel text": (
        file_of(changed(kernel="three")),
        "kernel must be a whole number, but is 'three'",
    ),
    "kernel even": (file_of(changed(kernel="4")), "line 4: kernel must be odd, but is 4"),
    "size zero": (
        file_of(changed(size="0")),
        "line 4: size of a layer conv must be an integer from 1",
    ),
    "op": (file_of(changed(op="pool")), "line 4: unknown op 'pool'"),
    "act": (file_of(changed(act="swish")), "line 4: unknown activation 'swish'"),
    "flag": (file_of(changed(linear="2")), "line 4: linear must be 0 or 1, but is '2'"),
    "source": (
        file_of(changed(source="guess")),
        "source must be measured or modelled, but is 'guess'",
    ),
    "duplicate": (file_of(GOOD, changed(ms="2")), "line 5: a layer may have one row, but `conv k3"),
    "cells lacking": (file_of(GOOD[:20]), "line 4 must have 15 cells, but has 8"),
    "cells left": (file_of(GOOD + ",1"), "line 4 must have 15 cells, but has 16"),
    "empty line": (file_of(GOOD, "", GOOD), "line 5 must have 15 cells, but has 0"),
    "comment below": (file_of(GOOD, "# more", GOOD), "line 5 must have 15 cells, but has 1"),
    "no rows": (file_of(), "must have at least one row"),
    "no version": (file_of(GOOD, head="# device: test\n"), "must begin with `# version: 1`"),
    "no header": (file_of(GOOD, head=""), "must begin with `# version: 1`"),
    "other version": (file_of(GOOD, head="# version: 2\n"), "must begin with `# version: 1`"),
    "no columns": ("# version: 1\n" + GOOD + "\n", "must have the columns op,size,"),
    "only header": ("# version: 1\n", "must have the columns op,size,"),
    "column renamed": (file_of(GOOD).replace("iqr_ms", "iqr"), "must have the columns op,size,"),
    "cut": (file_of(GOOD, GOOD)[:-5], "is cut off in line 5"),
    "empty": ("", "must begin with `# version: 1`"),
    "open quote": (file_of('"' + GOOD, GOOD), "line 4 must have 15 cells, but has 1"),
    "huge cell": (file_of(changed(op='"' + "x" * 200_000 + '"')), "is not readable CSV"),
    "NUL": (file_of(changed(op="co\0nv")), "line 4: unknown op"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_one_error_that_names_the_line(case: str, tmp_path: Path) -> None:
    text, reason = BROKEN[case]
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(NasError) as caught:
        LatencyTable.load(path)
    assert reason in str(caught.value)
    assert "broken.csv" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_file_cut_anywhere_is_refused_or_holds_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    TABLE.save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        try:
            rows = LatencyTable.load(path).rows
        except NasError:
            continue
        assert all(rows[layer].ms == TABLE.rows[layer].ms for layer in rows)


def test_the_digest_is_of_the_rows() -> None:
    table = table_of(Arch.load("mobilenet_v3_small").layers)
    turned = replace(table, rows=dict(reversed(list(table.rows.items()))), header={"version": "1"})
    assert turned.digest() == table.digest()
    layer, row = next(iter(table.rows.items()))
    slower = replace(table, rows={**table.rows, layer: replace(row, ms=row.ms + 0.001)})
    assert slower.digest() != table.digest()


def test_sums_are_finite() -> None:
    assert all(math.isfinite(TABLE.predict_ms(TINY.random(seed))) for seed in range(20))


CALIBRATED = f"{','.join(COLUMNS)},isolated_ms,std_ms"


def calibrated_of(*rows: str) -> str:
    return "\n".join(["# version: 1", CALIBRATED, *rows, ""])


def test_calibrated_rows_load_equal(tmp_path: Path) -> None:
    first, second, *_ = TABLE.rows.values()
    rows = {
        first.layer: replace(first, isolated_ms=0.25, std_ms=0.0),
        second.layer: second,
    }
    path = tmp_path / "test.csv"
    LatencyTable(name="test", header=HEADER, rows=rows).save(path)
    lines = path.read_text().splitlines()
    assert lines[3] == CALIBRATED
    assert lines[4].endswith(",measured,0.250000,0.000000")
    assert lines[5].endswith(",measured,,")
    loaded = [*LatencyTable.load(path).rows.values()]
    assert [row.isolated_ms for row in loaded] == [0.25, None]
    assert [row.std_ms for row in loaded] == [0.0, None]
    assert loaded[1].ms == second.ms


def test_a_table_without_such_figures_has_the_columns_of_old(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    TABLE.save(path)
    assert path.read_text().splitlines()[3] == ",".join(COLUMNS)
    path.write_text(calibrated_of(f"{GOOD},,"))
    LatencyTable.load(path).save(path)
    assert CALIBRATED not in path.read_text()


def test_a_moved_squeeze_has_a_column_of_its_own(tmp_path: Path) -> None:
    layer = Layer.parse(LINES[1])
    moved = [replace(layer, se_at=place) for place in ("expansion", "projection")]
    assert len({layer, *moved}) == 3
    path = tmp_path / "test.csv"
    for is_calibrated in (False, True):
        std_ms = 0.5 if is_calibrated else None
        rows = {
            one: Row(layer=one, ms=ms, std_ms=std_ms)
            for ms, one in enumerate((layer, *moved), start=1)
        }
        LatencyTable(name="test", header=HEADER, rows=rows).save(path)
        more = ["isolated_ms", "std_ms"] if is_calibrated else []
        assert path.read_text().splitlines()[3].split(",") == [*COLUMNS, *more, "se_at"]
        assert LatencyTable.load(path).rows == rows
    wrong = path.read_text().replace("projection", "end")
    path.write_text(wrong)
    with pytest.raises(NasError, match="line 7: unknown se_at 'end'"):
        LatencyTable.load(path)


BROKEN_CALIBRATED = {
    "isolated zero": (calibrated_of(f"{GOOD},0,0.1"), "line 3: isolated_ms must be above 0"),
    "isolated NaN": (calibrated_of(f"{GOOD},nan,0.1"), "line 3: isolated_ms must be a finite"),
    "std negative": (calibrated_of(f"{GOOD},1,-0.1"), "line 3: std_ms must be a finite number"),
    "std text": (calibrated_of(f"{GOOD},1,small"), "std_ms must be a finite number of at least 0"),
    "old row": (calibrated_of(GOOD), "line 3 must have 17 cells, but has 15"),
    "one column": (
        calibrated_of(GOOD).replace(",std_ms", ""),
        "must have the columns op,size,",
    ),
}


@pytest.mark.parametrize("case", BROKEN_CALIBRATED)
def test_broken_calibrated_row_names_the_line(case: str, tmp_path: Path) -> None:
    text, reason = BROKEN_CALIBRATED[case]
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(NasError, match=r"broken\.csv") as caught:
        LatencyTable.load(path)
    assert reason in str(caught.value)
