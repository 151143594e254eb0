"""Two devices side by side: made tables whose differences are known, and the command."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Enter
from scipy import stats

from nas.arch import Arch, Layer
from nas.baselines import baselines
from nas.errors import NasError
from nas.latency.compare import main
from nas.latency.comparison import Comparison, Ratio, compared_networks
from nas.latency.table import LatencyTable, Row
from nas.space import SearchSpace

LAYERS = tuple(
    dict.fromkeys(
        [
            *SearchSpace.load("mobilenet_v3_large").layers(),
            *(layer for arch in baselines() for layer in arch.layers),
        ]
    )
)


def cost(layer: Layer, se_ms: float = 0.1) -> float:
    """Return a cost in which the properties have known prices, and no two layers the same one."""
    ms = 1 + layer.out_channels / 100 + layer.mid_channels / 1000 + layer.size / 1e4
    return ms + 0.1 * layer.kernel + (0.05 if layer.act == "hswish" else 0) + se_ms * (layer.se > 0)


def table_of(
    cost: Callable[[Layer], float], layers: tuple[Layer, ...] = LAYERS, name: str = "made"
) -> LatencyTable:
    rows = {layer: Row(layer=layer, ms=cost(layer)) for layer in layers}
    return LatencyTable(name=name, header={"version": "1", "device": name}, rows=rows)


A = table_of(cost, name="a")


def named(ratios: list[Ratio], name: str) -> Ratio:
    return next(one for one in ratios if one.name == name)


def test_a_device_that_is_twice_as_slow_differs_in_scale_only() -> None:
    comparison = Comparison.of(A, table_of(lambda layer: 2 * cost(layer)))
    assert comparison.scale == pytest.approx(2)
    assert (comparison.tau, comparison.rho) == pytest.approx((1, 1))
    for ratios in (comparison.rows(), comparison.by_property(), comparison.by_choice()):
        assert ratios
        assert all(one.relative == pytest.approx(1) for one in ratios)


def test_a_dear_squeeze_is_found_whatever_the_scale() -> None:
    # Half of the time, but SE costs 0.36 ms where the scale says 0.05.
    b = table_of(lambda layer: 0.5 * cost(layer, se_ms=0.72))
    comparison = Comparison.of(A, b)
    choice = comparison.by_choice()[0]
    assert choice.name == "SE instead of none"
    assert (choice.a_ms, choice.b_ms) == pytest.approx((0.1, 0.36))
    assert choice.relative == pytest.approx(3.6 / comparison.scale)
    properties = comparison.by_property()
    assert named(properties, "with SE").relative > 1.05
    assert named(properties, "without SE").relative < named(properties, "with SE").relative
    kernel = named(comparison.by_choice(), "kernel 5 instead of 3")
    assert (kernel.a_ms, kernel.b_ms) == pytest.approx((0.2, 0.1))


def test_scale_taken_out_leaves_the_rows_that_depart_most() -> None:
    odd, cheap = LAYERS[10], LAYERS[20]
    b = table_of(lambda x: 3 * cost(x) * {odd: 1.8, cheap: 0.5}.get(x, 1.0))
    comparison = Comparison.of(A, b)
    rows = comparison.rows()
    assert comparison.scale == pytest.approx(3)
    assert (rows[0].name, rows[-1].name) == (str(odd), str(cheap))
    assert (rows[0].relative, rows[-1].relative) == pytest.approx((1.8, 0.5))


def test_ranks_are_those_of_scipy() -> None:
    b = table_of(lambda layer: layer.mid_channels + layer.size / 3 + 1)
    comparison = Comparison.of(A, b)
    a_ms, b_ms = ([table.rows[layer].ms for layer in LAYERS] for table in (A, b))
    assert comparison.tau == pytest.approx(stats.kendalltau(a_ms, b_ms).statistic)
    assert comparison.rho == pytest.approx(stats.spearmanr(a_ms, b_ms).statistic)


def test_a_choice_that_is_free_on_one_device_has_no_ratio() -> None:
    b = table_of(lambda layer: cost(layer, se_ms=0.0))
    names = [one.name for one in Comparison.of(A, b).by_choice()]
    assert names and "SE instead of none" not in names


def test_rows_of_one_table_only_are_counted() -> None:
    comparison = Comparison.of(table_of(cost, LAYERS[:30]), table_of(cost, LAYERS[10:100]))
    counts = (len(comparison.shared), comparison.n_only_a, comparison.n_only_b)
    assert counts == (20, 10, 70)


def test_tables_with_nothing_in_common_are_an_error() -> None:
    with pytest.raises(NasError, match=r"made \(5 rows\) and other \(7 rows\) have none\. Add"):
        Comparison.of(table_of(cost, LAYERS[:5]), table_of(cost, LAYERS[5:12], "other"))


def test_networks_change_places() -> None:
    names = ("mobilenet_v3_small", "mobilenet_v3_large", "mobilenet_v1")
    archs = [Arch.load(name) for name in names]
    a_ms = {arch.name: A.predict_ms(arch) for arch in archs}
    # Without SE only MobileNetV1 keeps its time.
    b = table_of(lambda layer: cost(layer) * (10 if layer.op == "mbconv" else 1))
    found = compared_networks(archs, A, b)
    assert [one.name for one in found] == sorted(a_ms, key=a_ms.__getitem__)
    assert [one.a_rank for one in found] == [1, 2, 3]
    fastest = min(archs, key=b.predict_ms).name
    assert next(one.name for one in found if one.b_rank == 1) == fastest == "mobilenet_v1"
    gone = replace(A, rows={x: row for x, row in A.rows.items() if x not in archs[0].layers})
    assert archs[0].name not in {one.name for one in compared_networks(archs, gone, b)}


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "nas.latency.compare", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_command_says_where_two_devices_differ(tmp_path: Path) -> None:
    (tmp_path / "latency_tables").mkdir()
    A.save(tmp_path / "latency_tables/slow.csv")
    few = table_of(lambda layer: 0.5 * cost(layer, se_ms=0.72), LAYERS[1:], "fast")
    few.save(tmp_path / "fast.csv")
    done = run(tmp_path, "a=slow", "b=fast.csv", "n=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(LAYERS) - 1} rows on both; 1 only on a, 0 only on b." in done.stdout
    scale = Comparison.of(A, few).scale
    assert f"takes {scale:.3g} of its time on a" in done.stdout
    [choice] = [line for line in done.stdout.splitlines() if line.startswith("SE instead")]
    assert choice.split()[4:6] == ["0.100", "0.360"]
    assert choice.endswith(f"x {3.6 / scale:.2f} on b")
    dearest = done.stdout.partition("Layers relatively dearest on b")[2].splitlines()[1:]
    assert dearest.index("") == 2
    assert "mobilenet_v2" in done.stdout


@pytest.mark.slow
def test_command_takes_a_hardware_and_says_when_both_are_one(tmp_path: Path) -> None:
    (tmp_path / "conf/hardware").mkdir(parents=True)
    (tmp_path / "conf/hardware/mine.yaml").write_text("name: mine\ntable: pixel_cpu\n")
    done = run(tmp_path, "a=mine", "b=pixel_cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Both are the same table." in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["b=pixel_cpu"], "a must name a table, a file or a hardware, but is missing. Known: e"),
        (["a=pixle_cpu", "b=pixel_cpu"], "unknown table or hardware for a: 'pixle_cpu'. Did you"),
        (["a=pixel_cpu", "b=no.csv"], "no.csv must be a file, but there is none"),
        (["a=pixel_cpu", "b=[x]"], "b must name a table, a file or a hardware, but is ['x']"),
        (["a=host_cpu", "b=pixel_cpu"], "python -m nas.latency +hardware=host_cpu\n"),
        (["a=pixel_cpu", "b=pixel_cpu", "n=-1"], "n must be from 0 to 1000 rows, but is -1"),
        (["a=pixel_cpu", "b=pixel_cpu", "m=1"], "unknown option 'm'"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], message: str, tmp_path: Path, enter: Enter
) -> None:
    done = enter(main, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
