"""The wheel alone is enough: it carries its conf, spaces and tables."""

import csv
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nas.arch import Arch
from nas.paths import SHIPPED

FOLDERS = ("conf", "search_spaces", "latency_tables")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and return the folder that it was unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(SHIPPED)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder / "site")
    return folder / "site"


def run(unpacked: Path, cwd: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_shipped_file_is_in_the_wheel(unpacked: Path) -> None:
    shipped = subprocess.run(
        ["git", "ls-files", "nas", *FOLDERS],
        cwd=SHIPPED,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in shipped.stdout.splitlines():
        inside = name if name.startswith("nas/") else f"nas/{name}"
        assert (unpacked / inside).read_bytes() == (SHIPPED / name).read_bytes()


def test_nothing_else_is_installed_at_the_top(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"nas"}


def test_the_unpacked_wheel_searches_with_its_own_files(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import nas.commands, nas.paths, nas.arch;"
        "print(nas.paths.SHIPPED, nas.commands.CONF,"
        " nas.paths.find('search_spaces', 'tiny', '.yaml'),"
        " nas.paths.find('latency_tables', 'pixel_cpu', '.csv'), sep='\\n')"
    )
    places = run(unpacked, tmp_path, "-c", code).splitlines()
    package = unpacked / "nas"
    assert [Path(place) for place in places] == [
        package,
        package / "conf",
        package / "search_spaces/tiny.yaml",
        package / "latency_tables/pixel_cpu.csv",
    ]
    options = ("+hardware=pixel_cpu", "n_trials=20", "hydra.run.dir=run")
    out = run(unpacked, tmp_path, "-m", "nas.search", *options)
    assert "all in table pixel_cpu" in out
    assert Arch.load(tmp_path / "run/winners/large.yaml").layers
    with (tmp_path / "run/trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 40
    assert "<html" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
