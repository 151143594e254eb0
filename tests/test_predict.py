"""A network's latency layer by layer: the sum, its parts, and the command for what is missing."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Enter

from nas.arch import Arch
from nas.errors import NasError
from nas.latency.breakdown import Breakdown, adding_command
from nas.latency.hardware_tables import measuring_options
from nas.latency.predict import main
from nas.latency.table import LatencyTable, Row

ARCH = Arch.load("mobilenet_v3_small")
PIXEL = LatencyTable.load("pixel_cpu")
CHECKED = {"device": "host_cpu", "check_networks": "60", "check_mean_error_percent": "1.8"}


def calibrated(header: Mapping[str, str], arch: Arch = ARCH) -> LatencyTable:
    rows = {
        layer: Row(layer=layer, ms=0.5, isolated_ms=0.25, std_ms=0.125, n=9)
        for layer in arch.layers
    }
    return LatencyTable(name="host_cpu", header=header, rows=rows)


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "nas.latency.predict", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_parts_make_the_sum() -> None:
    breakdown = Breakdown.of(ARCH, PIXEL, "")
    assert [row.layer for row in breakdown.rows] == list(ARCH.layers)
    assert breakdown.ms == pytest.approx(PIXEL.predict_ms(ARCH))
    assert sum(map(breakdown.percent, breakdown.rows)) == pytest.approx(100)
    assert breakdown.isolated_ms is None
    n_layers = len(ARCH.layers)
    assert Breakdown.of(ARCH, calibrated({}), "").isolated_ms == pytest.approx(n_layers / 4)


def test_missing_layers_come_with_the_command() -> None:
    other = Arch.load("mobilenet_v1")
    with pytest.raises(NasError, match=r"host_cpu has no row for \d+ layers of .* them: type this"):
        Breakdown.of(other, calibrated({}), "type this")


def test_command_is_as_it_is_typed() -> None:
    scaling = {"width": "0.5", "resolution": 160}
    assert adding_command("mine", "a", scaling, {"table": "t.csv"}) == (
        "python -m nas.latency +hardware=mine arch=a width=0.5 resolution=160 table=t.csv"
    )
    nothing = {"width": None, "resolution": None}
    assert adding_command(None, "my net.yaml", nothing, {}) == (
        "python -m nas.latency '+hardware=<name>' 'arch=my net.yaml'"
    )


def test_another_runtime_is_named_in_the_command() -> None:
    own = {"runtime": "onnxruntime", "dtype": "fp32", "mode": "none"}
    assert measuring_options("host_cpu", calibrated(own)) == {}
    other = {"runtime": "litert", "dtype": "int8", "mode": "xnnpack"}
    assert measuring_options("host_cpu", calibrated(other)) == other
    assert measuring_options("pixel_cpu", PIXEL) == {}


@pytest.mark.slow
def test_command_lists_every_layer_and_the_sum(tmp_path: Path) -> None:
    done = run(tmp_path, "arch=mobilenet_v3_small", "+hardware=pixel_cpu")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["layer", "ms", "share", "source"]
    for layer, line in zip(ARCH.layers, lines[1:], strict=False):
        assert line.startswith(str(layer))
        assert f" {PIXEL.rows[layer].ms:.3f} " in line
    assert f"mobilenet_v3_small: {PIXEL.predict_ms(ARCH):.3f} ms on table pixel_cpu." in lines
    assert lines[-1].startswith("Modelled: nothing was timed")


@pytest.mark.slow
def test_command_shows_what_a_calibrated_table_knows(tmp_path: Path) -> None:
    calibrated(CHECKED).save(tmp_path / "host_cpu.csv")
    done = run(tmp_path, "arch=mobilenet_v3_small", "table=host_cpu.csv")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == [
        *("layer", "ms", "share", "timed alone", "std", "source")
    ]
    assert re.search(r"0\.500 .* 0\.250 +0\.125 +measured$", lines[1].rstrip())
    assert f"; its layers timed alone come to {len(ARCH.layers) / 4:.3f} ms." in done.stdout
    assert "On 60 networks it had not seen, the table errs by 1.8 % on average" in lines[-1]


@pytest.mark.slow
def test_command_that_adds_the_missing_rows_works(tmp_path: Path) -> None:
    words = ["arch=mobilenet_v3_small", "width=0.65", "resolution=80", "+hardware=pixel_cpu"]
    done = run(tmp_path, *words)
    assert done.returncode == 2
    command = done.stderr.partition("Add them: ")[2].split()
    assert command[:3] == ["python", "-m", "nas.latency"]
    again = subprocess.run(
        [sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v3_small_w0.65_r80: " in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["arch=mobilenet_v2"], "hardware must be chosen. Known: android_phone, "),
        (["+hardware=pixel_cpu"], "arch must name a network: arch=mobilenet_v3_large"),
        (["+hardware=pixel_cpu", "arch=mobilnet_v2"], "Did you mean mobilenet_v2?"),
        (["+hardware=host_cpu", "arch=mobilenet_v2"], "nas.latency +hardware=host_cpu\n"),
        (["table=no", "arch=mobilenet_v2"], "unknown table or hardware for table: 'no'"),
        (["table=own.csv", "arch=mobilenet_v2"], "arch=mobilenet_v2 table=own.csv\n"),
        (["+hardware=pixel_cpu", "arch=mobilenet_v2", "width=wide"], "width: "),
        (["+hardware=pixel_cpu", "arch=mobilenet_v2", "with=1"], "Did you mean width?"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], message: str, tmp_path: Path, enter: Enter
) -> None:
    calibrated(CHECKED).save(tmp_path / "own.csv")
    done = enter(main, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", ["nas.latency.predict", "nas.latency.compare"])
def test_start_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "pandas", "optuna"} & set(done.stdout.split())
