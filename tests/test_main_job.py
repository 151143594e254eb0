"""The main job, `python -m nas.search +hardware=<phone>`: half its trials are enough."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from nas.arch import Arch
from nas.proxies.surrogate import Surrogate

pytestmark = pytest.mark.slow


# What pixel_cpu finds with all defaults is asserted where the README's first command searches.
@pytest.mark.parametrize(
    "hardware", ["pixel6_cpu", pytest.param("pixel4_cpu", marks=pytest.mark.long)]
)
def test_winners_beat_their_baseline_and_can_be_believed(tmp_path: Path, hardware: str) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "nas.search", f"+hardware={hardware}"),
            *("n_trials=2000", "hydra.run.dir=run"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    check_winners(tmp_path / "run")


def check_winners(run: Path) -> None:
    """Assert that both winners beat their baseline, and that the surrogate can judge them."""
    lines = (run / "comparison.csv").read_text().splitlines()
    rows = {row["name"]: row for row in csv.DictReader(lines)}
    baselines = [row for row in rows.values() if row["group"] == "baseline"]
    surrogate = Surrogate.load()
    for study in ("large", "small"):
        winner, reference = rows[study], rows[f"mobilenet_v3_{study}"]
        assert winner["key"] != reference["key"]
        assert float(winner["top1"]) >= float(reference["top1"])
        assert float(winner["ms"]) <= float(reference["ms"])
        assert not [row["name"] for row in baselines if _dominates(row, winner)]
        arch = Arch.load(run / f"winners/{study}.yaml")
        assert surrogate.range_violations(arch) == []


def _dominates(one: dict[str, str], other: dict[str, str]) -> bool:
    pairs = [
        (float(one["top1"]), float(other["top1"])),
        (-float(one["ms"]), -float(other["ms"])),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
