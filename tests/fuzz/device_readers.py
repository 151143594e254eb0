"""What devices answer over ssh and adb; a file stands for all that they say."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import IO, Any

from readers import ROOT, Reader

from nas.latency.devices.adb_shell import Adb
from nas.latency.devices.benchmark_model import benchmark_command
from nas.latency.devices.model_files import model_files
from nas.latency.devices.phone import read_clocks_mhz, read_phone
from nas.latency.devices.phone_bench import PhoneBench
from nas.latency.devices.phone_folder import PhoneFolder
from nas.latency.devices.phone_heat import read_temperature_c
from nas.latency.devices.remote_shell import Call, RemoteShell, UnreachableError
from nas.latency.devices.ssh import SshDevice
from nas.latency.devices.watching import Patience, Watch
from nas.latency.runner.bench import Job
from nas.latency.runner.replies import MARK
from nas.latency.runner.sheet import reading_line
from nas.latency.runner.timing import ANCHOR, Plan, Reading

DATA = ROOT / "tests/data/benchmark_model"
JOB = Job(
    runtime="litert",
    plan=Plan(n_rounds=2, n_runs=2),
    models={"one": b"first model", "two": b"second model"},
    anchor=b"anchor",
)
FACTS = (
    b'{"cpu": "Cortex-A72", "n_cores": 4, "governor": "performance", "clock_mhz": "1500", '
    b'"temperature_c": "50", "cores": [3], "runtime_version": "1.2"}'
)
ABOUT = b"""model Pixel 4
soc SM8150
platform msmnile
online 0 1
clock 0 1785600
governor 0 schedutil
online 7 1
clock 7 2841600
governor 7 performance
mWakefulness=Awake
"""
HEAT = b"zone skin-therm 31000\nzone battery 29000\n"
DIGESTS = b"ab" * 32 + b"  /data/local/tmp/nas-cpu/" + b"ab" * 32 + b".tflite\n"
DEVICES = b"* daemon started *\nList of devices attached\nPHONE1\tdevice\n\n"


class Process:
    """A process that has said all it will."""

    def __init__(self, output: bytes) -> None:
        self.stdin: IO[bytes] = BytesIO()
        self.stdout: IO[bytes] = BytesIO(output)

    def wait(self) -> int:
        """Return that it ended well."""
        return 0


class SayingShell(RemoteShell):
    """A connection over which every command says the same, those with one answer its first line."""

    output = b""

    @contextmanager
    def calling(self, words: Sequence[str]) -> Iterator[Call]:
        """Yield a call that is over."""
        output = SayingShell.output
        if not {"follow", "facts"} & set(words):  # one line of the same answers them
            said = [line for line in output.split(b"\n") if MARK.encode() in line]
            output = said[0] if said else output
        process: Any = Process(output)
        yield Call(self, words, process, BytesIO(b"Killed"))


class SayingAdb(Adb):
    """A phone that answers every command alike."""

    output = ""

    def _run(self, words: Sequence[str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
        is_shell = "shell" in words
        said = self.output + ("\n@nas-status 0\n" if is_shell else "")
        return subprocess.CompletedProcess(list(words), 0, said, "")


def _nothing(what: str, n_done: int, n_all: int) -> None:
    pass


def _reply(content: bytes) -> bytes:
    return MARK.encode() + content + b"\n"


def board_facts() -> Sequence[bytes]:
    """Return what boards say of themselves."""
    return [b"Welcome to the board\n" + _reply(FACTS)]


def board_readings() -> Sequence[bytes]:
    """Return what the runner says while it measures."""
    sheet = model_files(JOB).sheet(JOB, (), 0.0)
    said = [b'{"missing": [], "n_bytes": 0, "opened": [1, 2], "path": "x"}', b"{}"]
    for number in range(2):
        for name, digest in {**sheet.models, ANCHOR: sheet.anchor}.items():
            reading = Reading(name=name, round=number, at_s=1.5, times_ms=(1.25, 1.5))
            line = reading_line(reading, digest)
            said.append(json.dumps({"line": line, "n_bytes": len(line)}).encode())
    ends = (b'{"end": {"status": "done"}}', b'{"end": {"status": "killed", "error": "x"}}')
    return [b"".join(map(_reply, (*said, end))) for end in ends]


def shipped(pattern: str) -> Sequence[bytes]:
    """Return recorded outputs."""
    return [path.read_bytes() for path in sorted(DATA.glob(pattern))]


def read_facts(path: Path) -> None:
    """Ask a board what it is."""
    SayingShell.output = path.read_bytes()
    device = _board()
    facts = device.facts("litert", 1, ())
    _ = [f"{core:d}" for core in facts.cores], facts.cpu.split(), f"{facts.n_cores:d}"
    assert (
        len(facts.temperature_c + facts.clock_mhz + facts.governor + facts.runtime_version) < 1000
    )


def read_board(path: Path) -> None:
    """Have a board measure a job."""
    SayingShell.output = path.read_bytes()
    device = _board()
    files = model_files(JOB)
    sheet = files.sheet(JOB, (), 0.0)
    device._board.missing([*files.files])
    patience = Patience(0.0, _nothing)
    patience.wait = _give_up  # type: ignore[method-assign]
    told: list[int] = []
    watch = Watch(device._board, sheet, files, patience, lambda *steps: told.append(steps[1]))
    for reading in watch.readings():
        assert isfinite(sum(reading.times_ms, reading.at_s)) and reading.times_ms
    assert all(isinstance(one, int) for one in told)


def asking(ask: Callable[[Adb], object]) -> Callable[[Path], None]:
    """Return what asks a phone that prints a file's content."""

    def read(path: Path) -> None:
        adb = SayingAdb("adb", "PHONE1", 0.0)
        adb.output = path.read_bytes().decode(errors="replace")
        ask(adb)

    return read


def _board() -> SshDevice:
    device = SshDevice(host="board")
    device._board._shell = SayingShell(host="board")
    return device


def _give_up(error: UnreachableError) -> None:
    raise error


def _cores(adb: Adb) -> None:
    phone = read_phone(adb.shell)
    held = phone.cores(1, ())
    facts = phone.facts(held, 30.0, "1")
    assert len(facts.cpu) < 1000
    benchmark_command("program", "graph", threads=1, cores=held, n_warmups=1, n_runs=1, visit_ms=25)


def _bench(adb: Adb) -> PhoneBench:
    return PhoneBench(adb, "x", threads=1, cores=(0,), n_warmups=1, n_runs=1, visit_ms=25)


def _time(adb: Adb) -> None:
    assert 0 < _bench(adb).ms("graph", "name") < 1e12


def _op_times(adb: Adb) -> None:
    times = _bench(adb).op_times("graph", "name", "/data/profile")
    assert isfinite(sum(one.ms for one in times))


def _heat(adb: Adb) -> None:
    degrees = read_temperature_c(adb.shell)
    assert degrees is None or -50 < degrees < 150
    assert all(clock >= 0 for clock in read_clocks_mhz(adb.shell, (0, 7)))


def _files(adb: Adb) -> None:
    folder = PhoneFolder(adb, "/data/x", "/nowhere/benchmark_model")
    assert all(isinstance(one, str) for one in folder._digests().values())
    assert len(folder.program_digest()) == 64


_ANSWERS: dict[str, tuple[Callable[[Adb], object], Callable[[], Sequence[bytes]]]] = {
    "attached phones": (Adb.states, lambda: [DEVICES]),
    "phone": (_cores, lambda: [ABOUT]),
    "phone's heat": (_heat, lambda: [HEAT, *shipped("thermal*")]),
    "phone's files": (_files, lambda: [DIGESTS]),
    "benchmark output": (_time, lambda: shipped("*lite*")),
    "profile": (_op_times, lambda: shipped("profile*")),
}
DEVICE_READERS = (
    Reader(name="board's facts", file="said", form="lines", examples=board_facts, read=read_facts),
    Reader(
        name="board's readings", file="said", form="lines", examples=board_readings, read=read_board
    ),
    *(
        Reader(name=name, file="said", form="text", examples=examples, read=asking(ask))
        for name, (ask, examples) in _ANSWERS.items()
    ),
)
