"""The runner as it is copied to a board: one archive that stands alone, and its commands."""

import ast
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nas.latency.devices.bundle import runner_archive
from nas.latency.runner.replies import parse_reply
from nas.latency.runner.sheet import Sheet, parse_reading, parse_sheet, reading_line
from nas.latency.runner.timing import ANCHOR, Plan, Reading
from nas.paths import PACKAGE

SOURCES = sorted((PACKAGE / "latency" / "runner").glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_older_pythons_read_it(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_the_archive_is_the_same_each_time() -> None:
    with zipfile.ZipFile(io.BytesIO(runner_archive())) as archive:
        names = archive.namelist()
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not archive.read("nas/__init__.py") + archive.read("nas/latency/__init__.py")
    own = {f"nas/latency/runner/{path.name}" for path in SOURCES}
    assert set(names) == own | {"__main__.py", "nas/__init__.py", "nas/latency/__init__.py"}
    code = "import sys; from nas.latency.devices.bundle import *; sys.stdout.buffer.write"
    words = [sys.executable, "-c", f"{code}(runner_archive())"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == runner_archive()


class Runner:
    """The archive in a folder, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "runner.pyz"
        self.program.write_bytes(runner_archive())

    def words(self, *words: str) -> list[str]:
        # Isolated: nothing of this project's environment but the installed packages.
        return [sys.executable, "-I", str(self.program), *words]

    def call(self, *words: str, content: bytes = b"") -> list[dict[str, Any]]:
        done = subprocess.run(self.words(*words), input=content, capture_output=True, cwd="/")
        found = [parse_reply(line) for line in done.stdout.decode().splitlines()]
        assert found, done.stderr.decode()
        return [reply for reply in found if reply is not None]

    def follow(self, sheet: Sheet, offset: int = 0) -> tuple[list[Reading], dict[str, Any], int]:
        replies = self.call("follow", sheet.key, str(offset))
        lines = [reply for reply in replies if "line" in reply]
        readings = [parse_reading(reply["line"])[0] for reply in lines]
        end: dict[str, Any] = replies[-1]["end"]
        return readings, end, offset + sum(reply["n_bytes"] for reply in lines)

    def pid(self) -> int | None:
        words = (self.folder / "worker.lock").read_text().split()
        return int(words[0]) if words else None


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path)
    yield made
    if (tmp_path / "worker.lock").exists() and (pid := made.pid()):
        os.kill(pid, signal.SIGKILL)


def _model(n: int) -> bytes:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, n, n]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    content: bytes = onnx.ModelProto.SerializeToString(made)
    return content


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def sent_sheet(runner: Runner, n_rounds: int = 3, n_pixels: int = 8) -> Sheet:
    """Return a job whose models the runner has."""
    contents = {name: _model(n_pixels + number) for number, name in enumerate(("one", "two > 2"))}
    anchor = _model(4)
    files = {_digest(content): content for content in (*contents.values(), anchor)}
    assert runner.call("receive", content=tar_of(files)) == [{"received": 3}]
    return Sheet(
        runtime="onnxruntime",
        threads=1,
        cores=(),
        plan=Plan(n_rounds=n_rounds, n_warmups=0, n_runs=2, anchor_every=1),
        seed=0,
        models={name: _digest(content) for name, content in contents.items()},
        anchor=_digest(anchor),
    )


def visits(readings: list[Reading]) -> list[tuple[str, int]]:
    return [(one.name, one.round) for one in readings if one.name != ANCHOR]


def test_facts(runner: Runner) -> None:
    (facts,) = runner.call("facts", "--runtime", "onnxruntime", "--threads", "1", "--cores", "0")
    assert facts["cores"] == [0]
    assert facts["n_cores"] == os.cpu_count()
    (trouble,) = runner.call("facts", "--runtime", "none")
    assert "unknown runtime 'none'" in trouble["error"]


@pytest.mark.slow
def test_files_are_checked_on_arrival(runner: Runner) -> None:
    whole = b"a model"
    names = [_digest(whole), "0" * 64]
    assert runner.call("missing", content=json.dumps(names).encode()) == [{"missing": names}]
    assert runner.call("receive", content=tar_of({names[0]: whole})) == [{"received": 1}]
    left = [{"missing": names[1:]}]
    assert runner.call("missing", content=json.dumps(names).encode()) == left
    stream = tar_of({names[0]: os.urandom(5000)})
    for content in (
        tar_of({names[1]: whole}),
        tar_of({"../" + "0" * 61: whole}),
        tar_of({"x": whole}),
        stream[:2000],
        b"",
        b"garbage" * 99,
    ):
        (trouble,) = runner.call("receive", content=content)
        assert trouble["kind"] == "corrupt", trouble
    assert runner.call("missing", content=json.dumps(names).encode()) == left
    assert [path.name for path in (runner.folder / "models").iterdir()] == names[:1]
    assert not [*runner.folder.parent.glob("0*")]


@pytest.mark.parametrize("tail", [b"", b"\0" * 30 + b"\n"], ids=["killed", "power cut"])
@pytest.mark.slow
def test_a_job_from_start_to_finish(runner: Runner, tail: bytes) -> None:
    sheet = sent_sheet(runner)
    assert runner.call("start", content=sheet.text().encode())[0]["n_bytes"] == 0
    readings, end, n_bytes = runner.follow(sheet)
    assert end == {"status": "done"}
    assert sorted(visits(readings)) == sorted(
        (one, two) for one in sheet.models for two in range(3)
    )
    # What was cut off of a line, and what the host has, is neither measured nor told twice.
    path = runner.folder / f"readings-{sheet.key}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    cut = next(index for index, line in enumerate(lines) if b"two > 2" in line)
    path.write_bytes(b"".join(lines[:cut]) + lines[cut][:20] + tail)
    kept = [parse_reading(line)[0] for line in lines[:cut]]
    runner.call("start", content=sheet.text().encode())
    again, _, total = runner.follow(sheet, len(b"".join(lines[:cut])))
    assert sorted(visits(kept + again)) == sorted(visits(readings))
    assert min(one.at_s for one in again) > max(one.at_s for one in kept)
    assert runner.follow(sheet, total)[0] == []
    assert total >= n_bytes - 2 * max(map(len, lines))
    assert runner.call("finish", sheet.key) == [{"stopped": False}]
    assert not [*runner.folder.glob("*-*.json*")]


@pytest.mark.slow
def test_a_job_is_started_once(runner: Runner) -> None:
    sheet = sent_sheet(runner, n_rounds=10**5, n_pixels=100)
    assert not runner.call("start", content=sheet.text().encode())[0]["attached"]
    pid = runner.pid()
    # Fewer models and rounds, as a host has that comes back: the same worker makes them all.
    part = parse_sheet(sheet.text().replace('"n_rounds": 100000', '"n_rounds": 99'))
    assert part.key == sheet.key
    assert runner.call("start", content=part.text().encode())[0]["attached"]
    assert runner.pid() == pid
    more = parse_sheet(sheet.text().replace('"n_rounds": 100000', '"n_rounds": 100001'))
    assert not runner.call("start", content=more.text().encode())[0]["attached"]
    assert runner.pid() not in (pid, None)
    assert pid is not None and not _is_alive(pid)
    assert runner.call("stop", sheet.key) == [{"stopped": True}]
    readings, end, _ = runner.follow(sheet)
    assert end == {"status": "stopped"}
    assert len(visits(readings)) == len(set(visits(readings)))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_follower_ends_when_nobody_listens(runner: Runner) -> None:
    sheet = sent_sheet(runner, n_rounds=10**5, n_pixels=100)
    runner.call("start", content=sheet.text().encode())
    words = runner.words("follow", sheet.key, "0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        assert follower.stdout is not None and follower.stderr is not None
        follower.stdout.readline()
        follower.stdout.close()
        assert follower.wait(timeout=20) == 0
        assert follower.stderr.read() == b""
    assert runner.call("stop", sheet.key) == [{"stopped": True}]


@pytest.mark.slow
def test_a_failure_is_told(runner: Runner) -> None:
    sheet = sent_sheet(runner)
    broken = parse_sheet(sheet.text().replace(sheet.models["one"], "f" * 64))
    runner.call("start", content=broken.text().encode())
    _, end, _ = runner.follow(broken)
    assert end["status"] == "failed"
    assert "f" * 64 in end["error"]
    assert "Traceback" in (runner.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("line", "content"),
    [
        ('@nas-cpu {"a": 1}', {"a": 1}),
        ('Welcome to the board!@nas-cpu {"a": "@nas-cpu "}', {"a": "@nas-cpu "}),
        ('@nas-cpu {"a": ', None),
        ("@nas-cpu 7", None),
        ('{"a": 1}', None),
        ("", None),
    ],
)
def test_replies_among_other_lines(line: str, content: dict[str, Any] | None) -> None:
    assert parse_reply(line) == content


@pytest.mark.slow
def test_all_is_forgotten(runner: Runner) -> None:
    sheet = sent_sheet(runner)
    runner.call("start", content=sheet.text().encode())
    runner.follow(sheet)
    assert runner.call("forget") == [{"forgotten": 1}]
    assert runner.follow(sheet)[0] == []


def test_keys_name_no_other_files(runner: Runner) -> None:
    for key in ("../../etc", "a" * 31, "G" * 32):
        done = subprocess.run(runner.words("finish", key), capture_output=True)
        assert done.returncode == 2 and b"32 hexadecimal digits" in done.stderr


def test_sheets_are_read_as_written() -> None:
    plan = Plan(n_rounds=3, first_round=5)
    sheet = Sheet(
        runtime="litert",
        options={"mode": "x"},
        threads=2,
        cores=(1, 3),
        plan=plan,
        seed=9,
        models={"ä > b": "0" * 64},
        anchor="1" * 64,
        done=frozenset({("ä > b", 5)}),
        start_s=1.5,
    )
    assert parse_sheet(sheet.text()) == sheet
    assert sheet.wanted == {("ä > b", "0" * 64, 6), ("ä > b", "0" * 64, 7)}


def test_keys_hold_what_makes_times_comparable() -> None:
    def key(**changes: Any) -> str:
        known: dict[str, Any] = {
            "runtime": "litert",
            "threads": 1,
            "cores": (),
            "plan": Plan(),
            "seed": 0,
            "models": {"a": "0" * 64},
            "anchor": "1" * 64,
        }
        return Sheet(**known | changes).key

    same: list[dict[str, Any]] = [
        {"seed": 1},
        {"models": {}},
        {"plan": Plan(n_rounds=1, first_round=7)},
    ]
    other: list[dict[str, Any]] = [
        {"threads": 2},
        {"cores": (1,)},
        {"plan": Plan(n_runs=9)},
        {"options": {"a": "b"}},
    ]
    assert {key(**changes) for changes in same} == {key()}
    assert len({key(**changes) for changes in other} | {key()}) == 1 + len(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("model"),
        lambda content: content.update(times_ms=[]),
        lambda content: content.update(times_ms=[1.0, float("nan")]),
        lambda content: content.update(times_ms=3),
        lambda content: content.update(at_s=-1),
        lambda content: content.update(round=None),
    ],
)
def test_readings_that_are_none(change: Callable[[dict[str, Any]], object]) -> None:
    reading = Reading(name="a", round=1, at_s=2.0, times_ms=(float(np.float32(3)),))
    line = reading_line(reading, "0" * 64)
    assert parse_reading(line) == (reading, "0" * 64)
    content = json.loads(line)
    change(content)
    with pytest.raises(ValueError, match=r"no reading|must be numbers"):
        parse_reading(json.dumps(content))
