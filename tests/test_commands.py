"""What every command shares: typed settings, choices, and errors that fit one screen."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from nas.commands import MAX_SHOWN, command, make, require_choice, settings
from nas.errors import NasError
from nas.latency.__main__ import main as time_layers
from nas.objective import Reward
from nas.paths import SHIPPED

Task = Callable[[DictConfig], None]
Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Start:
    """Make a command of a task and run it: exit status and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(task: Task, *options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["nas.test", *options, "hydra.run.dir=run"])
        with pytest.raises(SystemExit) as ended:
            command("search")(task)()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


def nothing(_: DictConfig) -> None:
    """Do nothing."""


def raising(error: BaseException) -> Task:
    def task(_: DictConfig) -> None:
        raise error

    return task


def test_a_command_gets_its_config(start: Start) -> None:
    seen: list[DictConfig] = []
    assert start(seen.append, "hardware=pixel_cpu", "seed=3") == (0, "")
    assert (seen[0].hardware.name, seen[0].seed) == ("pixel_cpu", 3)
    assert seen[0].sampler.n_trials == 4000


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (NasError("size must be 1, but is 2."), 2, "error: size must be 1, but is 2.\n"),
        (NasError("[red]x:key:[/]"), 2, "error: [red]x:key:[/]\n"),
        (PermissionError(13, "Permission denied", "a.csv"), 2, "error: a.csv: Permission denied."),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device. Check"),
        (KeyboardInterrupt(), 130, "Run the same command again to go on.\n"),
    ],
)
def test_what_a_user_can_cause_ends_as_one_line(
    start: Start, error: BaseException, status: int, said: str
) -> None:
    got, err = start(raising(error))
    assert got == status
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_long_error_is_cut_to_one_screen(start: Start) -> None:
    _, err = start(raising(NasError("begin " + "x" * 10**6 + " end.")))
    assert err.startswith("error: begin ")
    assert err.endswith(" end.\n")
    assert len(err) < MAX_SHOWN


def test_what_the_jobs_of_a_sweep_return_is_taken_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(cfg: DictConfig) -> int | None:
        if cfg.seed == 5:
            raise NasError("seed must not be 5.")
        return None if cfg.seed == 4 else int(cfg.seed)

    taken: list[list[int]] = []
    monkeypatch.chdir(tmp_path)
    start = command("train", together=taken.append)(task)
    monkeypatch.setattr(sys, "argv", ["nas.test", "--multirun", "seed=5,3,4"])
    with pytest.raises(SystemExit) as ended:
        start()
    assert (ended.value.code, taken) == (2, [[3]])
    assert capsys.readouterr().err == "error: seed must not be 5.\n"

    def failing(_: list[int]) -> None:
        raise NasError("no room.")

    monkeypatch.setattr(sys, "argv", ["nas.test", "seed=3", "hydra.run.dir=run"])
    with pytest.raises(SystemExit) as ended:
        command("train", together=failing)(task)()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: no room.\n"


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), ZeroDivisionError()])
def test_our_own_mistakes_keep_their_traceback(start: Start, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        start(raising(error))
    assert raised.value is error


def test_hydra_full_error_shows_the_traceback(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def task(_: DictConfig) -> None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        raise NasError("the rule")

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(NasError, match="the rule"):
        start(task)


WRONG_WORDS = {
    "hardware=pixle_cpu": ["unknown hardware 'pixle_cpu'", "Did you mean pixel_cpu"],
    "n_trails=5": ["unknown option 'n_trails'", "Did you mean n_trials"],
    "sampler.popsize=5": ["unknown option 'sampler.popsize'", "sampler.population_size"],
    "sampler=null": ["unknown sampler 'null'", "nsga2"],
    "hardware=null": ["unknown hardware 'null'", "pixel_cpu"],
    "hardware=../search": ["hardware/../search"],
    "seed": ["key=value", "'seed'"],
    "space=münchen": ["space=münchen", "two quotes"],
    "n_trials=${": ["n_trials=${", "two quotes"],
    "targets={a:1}": ["targets"],
    "seed=${oc.env:NOT_SET}": ["NOT_SET"],
}


@pytest.mark.parametrize("word", WRONG_WORDS)
def test_wrong_words_are_named(start: Start, word: str) -> None:
    def task(cfg: DictConfig) -> None:
        OmegaConf.to_container(cfg, resolve=True)

    status, err = start(task, word)
    assert status == 2
    for part in WRONG_WORDS[word]:
        assert part in err
    assert "Traceback" not in err
    assert len(err.splitlines()) < 10


def test_a_users_own_choice_is_found(start: Start, tmp_path: Path) -> None:
    (tmp_path / "conf/hardware").mkdir(parents=True)
    (tmp_path / "conf/hardware/mine.yaml").write_text("name: mine\ntable: my_table\n")
    seen: list[DictConfig] = []
    assert start(seen.append, "hardware=mine") == (0, "")
    assert seen[0].hardware.table == "my_table"
    assert "mine, pixel4_cpu" in start(nothing, "hardware=mini")[1]
    with pytest.raises(NasError, match="mine, pixel4_cpu"):
        require_choice(OmegaConf.create(), "hardware", "nas.search")


@pytest.mark.parametrize("content", [b"\xff\0", b"[" * 9999, b"a: 1\na: 2\n", b'a: "'])
@pytest.mark.slow
def test_a_broken_config_file_is_one_line(start: Start, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "conf/hardware").mkdir(parents=True)
    (tmp_path / "conf/hardware/mine.yaml").write_bytes(content)
    status, err = start(nothing, "hardware=mine")
    assert status == 2
    assert "conf" in err
    assert len(err.splitlines()) == 1


@dataclass(kw_only=True)
class Inner:
    """A group of options."""

    size: float = 1.0


@dataclass(kw_only=True)
class Outer:
    """Options of every type in use."""

    count: int
    names: list[str] = field(default_factory=list)
    limit: float | None = None
    inner: Inner = field(default_factory=Inner)


def config(**values: Any) -> DictConfig:
    return OmegaConf.create(values)


def test_settings_are_a_record_of_the_right_types() -> None:
    made = settings(config(count=3, names=["a"], inner={"size": 2}), Outer)
    assert made == Outer(count=3, names=["a"], inner=Inner(size=2.0))
    assert isinstance(made.inner.size, float)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({}, "count"),
        ({"count": "many"}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": None}, "count"),
        ({"count": 1, "names": "a"}, "names"),
        ({"count": 1, "names": {"a": 1}}, "config"),
        ({"count": 1, "limit": [1]}, "limit"),
        ({"count": 1, "inner": {"size": "x"}}, "inner.size"),
        ({"count": 1, "inner": 5}, "config"),
        ({"count": 1, "inner": {"size": 10**400}}, "config"),
        ({"count": 1, "other": 1}, "other"),
    ],
)
def test_settings_name_the_wrong_value(values: dict[str, Any], key: str) -> None:
    with pytest.raises(NasError, match=rf"^{key}: .*Correct the value\.$"):
        settings(config(**values), Outer)


REWARD = "nas.objective.Reward"


def test_make_builds_the_target() -> None:
    assert make({"_target_": REWARD, "exponent": -0.5}, "reward", "violation") == Reward(
        exponent=-0.5
    )


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": REWARD, "exponent": 1}, "exponent must be from -10 to 0, but is 1"),
        ({"_target_": REWARD, "exponent": "x"}, "it cannot be made: must be real number"),
        ({"_target_": REWARD, "power": 1}, "it cannot be made: .*'power'"),
        ({"_target_": "nas.objective.Nope"}, "it cannot be made: .*nas.objective.Nope"),
        ({"_target_": "os.system", "command": "true"}, "it cannot be made: .*os.system"),
        ({"_target_": None}, "it cannot be made"),
        ({"_target_": "builtins.dict"}, "it must have `violation`, but its _target_ makes a dict"),
        (OmegaConf.create({"exponent": 1}), "it must name what to make in `_target_`"),
    ],
)
def test_make_says_what_is_wrong(node: Any, words: str) -> None:
    with pytest.raises(NasError, match=words) as raised:
        make(node, "it", "violation")
    assert len(str(raised.value)) < 500


def test_require_choice_lists_the_choices() -> None:
    require_choice(config(hardware={"name": "x"}), "hardware", "nas.search")
    shipped = sorted(path.stem for path in (SHIPPED / "conf/hardware").glob("*.yaml"))
    with pytest.raises(NasError) as raised:
        require_choice(config(hardware=None), "hardware", "nas.latency", like="host_cpu")
    assert ", ".join(shipped) in str(raised.value)
    assert str(raised.value).endswith("python -m nas.latency +hardware=host_cpu")


@pytest.mark.slow
def test_output_that_nobody_reads_any_more_ends_quietly(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "nas.search", "--help"],
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.slow
def test_a_terminal_of_ascii_alone_is_enough(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "nas.search", "+hardware=pixel_cpu", "n_trials=2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert "mobilenet_v2" in process.stdout


@pytest.mark.parametrize("value", ["5", "[[a]]", "{a: 1}", "[null]"])
def test_spaces_to_time_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nas.latency", "+hardware=pixel_cpu", f"space={value}"])
    with pytest.raises(SystemExit) as ended:
        time_layers()
    assert ended.value.code == 2
    assert "space must be a text or a list of texts" in capsys.readouterr().err


def test_a_working_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    process = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'rmdir ../gone; "$0" -P -m nas.search hardware=pixel_cpu',
            sys.executable,
        ],
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith("error: the system: No such file or directory.")
