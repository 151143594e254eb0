"""The README: its Python runs, and so does every command, in order, on a fresh clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_main_job import check_winners

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.split("#")[0].strip()
]
# The tests that CI runs by this command cannot run themselves; see test_ci_runs_the_test_command.
TEST_COMMAND = "make test"
# Of the environment, what a newcomer has not.
HIDDEN = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "PYTHONDONTWRITEBYTECODE")


def shortened(command: str) -> str:
    """Return the command with less work, but for the one that a newcomer types first."""
    briefly = "recipe.epochs=1 {0}.recipe.n_images=200 {0}.recipe.resolution=8"
    if command.startswith("python -m nas.fidelity"):
        return f"{command} n=16 proxy.n_train=6 truth.{briefly.format('truth')}"
    if "proxy=guided" in command:
        few = "n_trials=15 proxy.n_train=6 proxy.n_evaluations=256"
        return f"{command} {few} proxy.{briefly.format('proxy')}"
    if command.startswith("python -m nas.search"):
        return f"{command} n_trials=15"
    if command.startswith("python -m nas.train"):
        return f"{command} recipe.epochs=1 recipe.n_images=200"
    if command.startswith("python -m nas.export"):
        return f"{command} calibration=20 check=100 rounds=2"
    if command.startswith("python -m nas.latency +hardware=host_cpu"):
        return f"{command} rounds=2 warmups=1 runs=1 calibrate=6 check=4"
    return command


def test_the_first_screen_has_two_commands_that_do_all() -> None:
    assert COMMANDS[:2] == ["make search", TEST_COMMAND]


def test_ci_runs_the_test_command() -> None:
    assert TEST_COMMAND in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_the_python_runs() -> None:
    printed = ("mb k5 24>96>32 s2 se24 hs @20", "(672, 960) (16, 32)")
    for block, said in zip(re.findall(r"```python\n(.*?)```", README, re.S), printed, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_files_that_it_names_exist() -> None:
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_every_command_runs_on_a_fresh_clone(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    clone = tmp_path / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    script = "\n".join(
        command if command == "make search" else shortened(command)
        for command in COMMANDS
        if command != TEST_COMMAND
    )
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    path = os.pathsep.join(
        place for place in kept["PATH"].split(os.pathsep) if ".venv" not in place
    )
    done = subprocess.run(
        ["bash", "-eux", "-c", script],
        cwd=clone,
        # Byte code of all of torch takes longer to make than that of what is imported of it.
        env={**kept, "PATH": path, "PIP_COMPILE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check_winners(min((clone / "runs/search").glob("2*")))
    assert (clone / "runs/search/mine/report.html").exists()
    assert (clone / "latency_tables/host_cpu.csv").exists()
