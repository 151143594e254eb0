"""Android phones: a stand-in for adb whose phone is a folder; recorded outputs; every fault.

No phone was here. The scripts for the phone's shell run in this machine's.
"""

import json
import stat
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nas.errors import NasError
from nas.latency.devices import adb_shell, cooling
from nas.latency.devices.adb import AdbDevice
from nas.latency.devices.benchmark_model import (
    benchmark_command,
    parse_benchmark,
    parse_op_profile,
)
from nas.latency.devices.phone_heat import parse_temperature_c
from nas.latency.devices.registry import load_device
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Plan, Reading, visits

DATA = Path(__file__).parent / "data" / "benchmark_model"
THERMAL = (DATA / "thermalservice.txt").read_text()

ADB = '''
"""Behaves like adb with the phones of a folder."""
import json, os, subprocess, sys
from pathlib import Path

root = Path(__file__).parent
settings = json.loads((root / "settings.json").read_text())
calls = root / "calls.jsonl"
words = sys.argv[1:]
with calls.open("a") as file:
    file.write(json.dumps(words) + "\\n")


def fail(text):
    sys.stderr.write(text + "\\n")
    sys.exit(1)


if words == ["devices"]:
    print("* daemon started successfully *")
    print("List of devices attached")
    for serial, state in settings["phones"].items():
        print(f"{serial}\\t{state}")
    print()
    sys.exit(0)
assert words[:2] == ["-s", "PHONE1"], words
words = words[2:]
n_calls = len(calls.read_text().splitlines())
for fault in settings["faults"]:
    if fault["from"] <= n_calls < fault["to"]:
        fail(fault["says"])
if words[0] == "push":
    if settings["full"]:
        fail(f"adb: error: failed to copy: remote write failed: No space left on device")
    content = Path(words[1]).read_bytes()
    (root / words[2].lstrip("/")).write_bytes(content[:-1] if settings["corrupt"] else content)
    print("1 file pushed, 0 skipped.")
    sys.exit(0)
assert words[0] == "shell" and len(words) == 2, words
script = words[1].replace("/data/", f"{root}/data/").replace("/sys/", f"{root}/sys/")
environment = os.environ | {"PATH": f"{root}/bin:{os.environ['PATH']}", "PHONE": str(root)}
done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment)
# Old adbs end lines so, and lose the status.
sys.stdout.write(done.stdout.replace(f"{root}/", "/").replace("\\n", settings["newline"]))
'''
BENCHMARK = '''
"""Prints what benchmark_model printed; a model's content is its time."""
import json, os, sys
from pathlib import Path

root = Path(os.environ["PHONE"])
settings = json.loads((root / "settings.json").read_text())
options = dict(word[2:].split("=", 1) for word in sys.argv[1:])
assert float(options["min_secs"]) == 0 == float(options["warmup_min_secs"])
assert options["use_xnnpack"] == "true"
us = Path(options["graph"]).read_text().split()[0]
counter = root / "n_runs"
n_runs = int(counter.read_text()) + 1 if counter.exists() else 1
counter.write_text(str(n_runs))
if us == "broken":
    sys.stderr.write("ERROR: Didn't find op for builtin opcode 'HARD_SWISH'\\n")
    sys.exit(1)
if n_runs in settings["garbage"]:
    print("tombstoned \\x07")
    sys.exit(0)
if "profiling_output_csv_file" in options:
    Path(options["profiling_output_csv_file"]).write_text(settings["profile"])
sys.stderr.write(settings["prints"].replace("@US", "nan" if settings["nan"] else us))
'''


class Phone:
    """The folder that stands for a phone, and what is wrong with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = {
            "phones": {"PHONE1": "device"},
            "faults": [],
            "full": False,
            "corrupt": False,
            "nan": False,
            "garbage": [],
            "newline": "\r\n",
            "prints": (DATA / "litert_2026.txt").read_text(),
            "profile": (DATA / "profile.csv").read_text(),
        }
        self.set()
        (root / "data/local/tmp").mkdir(parents=True)
        self.adb = self._program("adb", ADB)
        self.benchmark_model = self._program("benchmark_model", BENCHMARK)
        self._command(
            "getprop", 'case $1 in *product*) echo "Pixel 9";; *soc*) echo "Tensor G4";; esac'
        )
        self._command(
            "dumpsys",
            "case $1 in thermalservice) head -n 1 $PHONE/thermal >/dev/null 2>&1;"
            " cat $PHONE/thermal; [ -f $PHONE/thermal.next ] && mv $PHONE/thermal.next"
            ' $PHONE/thermal;; battery) echo "  temperature: 312";;'
            ' power) echo "  mWakefulness=Asleep"; echo "Display Power: state=OFF";; esac; true',
        )
        self._command("taskset", 'echo "$1" >> $PHONE/masks; shift; exec "$@"')
        self.heat(31.5)
        for core, khz in enumerate([1_800_000] * 4 + [2_400_000] * 3 + [3_105_000]):
            about = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            about.mkdir(parents=True)
            (about / "cpuinfo_max_freq").write_text(f"{khz}\n")
            (about / "scaling_cur_freq").write_text(f"{khz // 2}\n")
            (about / "scaling_governor").write_text("sched_pixel\n")
        (root / "sys/class/thermal").mkdir(parents=True)

    def set(self, **settings: Any) -> None:
        self.settings |= settings
        (self.root / "settings.json").write_text(json.dumps(self.settings))

    def heat(self, degrees: float, then: float | None = None) -> None:
        (self.root / "thermal").write_text(THERMAL.replace("@DEGREES", f"{degrees}"))
        if then is not None:
            (self.root / "thermal.next").write_text(THERMAL.replace("@DEGREES", f"{then}"))

    def lose(self, first: int, last: int, says: str) -> None:
        """Be lost from the `first` call of adb from now on, up to the `last` one."""
        self.set(faults=[{"from": self.n_calls + first, "to": self.n_calls + last, "says": says}])

    def device(self, **options: Any) -> AdbDevice:
        known = {"adb": str(self.adb), "benchmark_model": str(self.benchmark_model)}
        return AdbDevice(**known | options)

    @property
    def calls(self) -> list[list[str]]:
        path = self.root / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def n_calls(self) -> int:
        return len(self.calls)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.root / "data/local/tmp/nas-cpu").iterdir())

    def _program(self, name: str, text: str) -> Path:
        return _executable(self.root / name, f"#!{sys.executable} -IS\n{textwrap.dedent(text)}")

    def _command(self, name: str, text: str) -> None:
        (self.root / "bin").mkdir(exist_ok=True)
        _executable(self.root / "bin" / name, f"#!/bin/sh\n{text}\n")


def _executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    monkeypatch.setattr(adb_shell, "POLL_S", 0.01)
    monkeypatch.setattr(cooling, "POLL_S", 0.01)
    return Phone(tmp_path)


MODELS: dict[str, bytes] = {"a b; touch pwned": b"1234", "mb k5 24>72>40 s2 se24 re @56": b"5678"}


def make_job(models: dict[str, bytes] = MODELS, n_rounds: int = 2, **changes: Any) -> Job:
    plan = Plan(n_rounds=n_rounds, n_warmups=1, n_runs=4, anchor_every=2)
    return Job(runtime="litert", plan=plan, models=models, anchor=b"1000", seed=3, **changes)


def run(
    device: AdbDevice, job: Job, done: set[tuple[str, int]] | None = None
) -> tuple[list[Reading], Counter[str]]:
    steps = Counter[str]()
    readings = device.time(
        job, done=done or set(), start_s=7.0, on_step=lambda what, *_: steps.update([what])
    )
    return list(readings), steps


def check(readings: list[Reading], job: Job) -> None:
    order = list(visits(job.models, job.plan, seed=job.seed))
    assert [(one.name, one.round) for one in readings] == order
    ms = {name: (int(bytes(content)) / 1000,) for name, content in MODELS.items()}
    assert all(one.times_ms == (ms | {ANCHOR: (1.0,)})[one.name] for one in readings)
    starts = [one.at_s for one in readings]
    assert starts == sorted(set(starts)) and starts[0] >= 7.0


def test_facts(phone: Phone) -> None:
    facts = phone.device().facts("litert", 1, ())
    assert (facts.cpu, facts.n_cores, facts.cores) == ("Pixel 9, Tensor G4", 8, (7,))
    assert (facts.governor, facts.clock_mhz) == ("sched_pixel, screen off", "3105")
    assert facts.temperature_c == "32"
    assert facts.runtime_version.startswith("benchmark_model ")
    assert phone.device().facts("litert", 2, ()).cores == (6, 7)
    assert phone.device().facts("litert", 1, (2, 3)).cores == (2, 3)
    online = phone.root / "sys/devices/system/cpu/cpu7/online"
    online.write_text("0\n")
    assert phone.device().facts("litert", 1, ()).cores == (6,)


@pytest.mark.slow
def test_measuring(phone: Phone) -> None:
    device, job = phone.device(), make_job()
    readings, steps = run(device, job)
    check(readings, job)
    assert steps["copying"] == 3
    assert set((phone.root / "masks").read_text().split()) == {"80"}
    assert len([name for name in phone.files if name.endswith(".tflite")]) == 3
    moments = [(state.round, state.moment) for state in device.states]
    assert moments == [(0, "before"), (0, "after"), (1, "before"), (1, "after")]
    assert {state.temperature_c for state in device.states} == {31.5}
    assert {state.clocks_mhz for state in device.states} == {(1552,)}
    again, steps = run(device, job)
    check(again, job)
    assert not steps["copying"]
    assert not (phone.root / "pwned").exists() and not Path("pwned").exists()


@pytest.mark.slow
def test_what_is_done_is_left_out(phone: Phone) -> None:
    name, other = MODELS
    readings, _ = run(phone.device(), make_job(), {(name, 0), (name, 1), (other, 0)})
    assert [(one.name, one.round) for one in readings] == [(ANCHOR, 1), (other, 1)]
    done = {(name, number) for name in MODELS for number in (0, 1)}
    assert run(phone.device(), make_job(), done) == ([], Counter())


@pytest.mark.slow
def test_a_visit_makes_enough_runs(phone: Phone) -> None:
    run(phone.device(runs=30, visit_ms=250), make_job(n_rounds=1))
    (line, *_) = [words[-1] for words in phone.calls if "taskset" in words[-1]]
    assert "--num_runs=30" in line and "--max_secs=0.25" in line and "--num_threads=1" in line


LOST = (
    ("error: device offline", "adb reconnect"),
    ("error: device unauthorized.", "allow USB debugging"),
    ("adb: device 'PHONE1' not found", "Plug it in"),
    ("error: insufficient permissions for device: user in plugdev group", "udev rules"),
    ("error: closed", "Plug it in"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "advice"),
    [LOST[0], *(pytest.param(*one, marks=pytest.mark.long) for one in LOST[1:])],
)
def test_a_phone_that_comes_back_goes_on(phone: Phone, says: str, advice: str) -> None:
    device, job = phone.device(), make_job()
    run(device, make_job(n_rounds=1))
    phone.lose(12, 20, says)
    readings, steps = run(device, job)
    check(readings, job)
    assert steps["phone is away"] >= 1
    phone.lose(12, 10**6, says)
    with pytest.raises(NasError, match=f"phone PHONE1 is lost: .*{advice}"):
        run(phone.device(retry_s=1), job)


@pytest.mark.parametrize(
    ("phones", "message"),
    [
        ({}, "no phone is attached. Plug it in"),
        ({"PHONE1": "offline"}, "phone PHONE1 is offline.*adb reconnect"),
        ({"PHONE1": "unauthorized"}, "phone PHONE1 is unauthorized.*allow USB debugging"),
        ({"PHONE1": "no permissions (see udev)"}, "is no permissions.*udev rules"),
        ({"PHONE1": "device", "PHONE2": "device"}, r"connection.serial=PHONE1.*PHONE1, PHONE2"),
    ],
)
def test_phones_that_are_not_ready(phone: Phone, phones: dict[str, str], message: str) -> None:
    phone.set(phones=phones)
    with pytest.raises(NasError, match=message):
        phone.device().facts("litert", 1, ())


def test_one_of_several_phones(phone: Phone) -> None:
    phone.set(phones={"PHONE2": "offline", "PHONE1": "device"})
    assert phone.device(serial="PHONE1").facts("litert", 1, ()).n_cores == 8
    with pytest.raises(NasError, match="phone PHONE3 is not attached"):
        phone.device(serial="PHONE3").facts("litert", 1, ())


@pytest.mark.slow
def test_a_hot_phone_is_let_cool(phone: Phone) -> None:
    phone.heat(43.0, then=39.0)
    readings, steps = run(phone.device(), make_job())
    check(readings, make_job())
    assert steps["cooling"] == 1
    phone.heat(43.0)
    with pytest.raises(NasError, match=r"at most 40 C to be timed, but is 43 C.*charger"):
        run(phone.device(cool_down_s=1), make_job())
    assert run(phone.device(max_temperature_c=45), make_job())[0]


@pytest.mark.slow
def test_garbage_is_asked_for_once_more(phone: Phone) -> None:
    phone.set(garbage=[2], prints=(DATA / "tflite_2019.txt").read_text())
    check(run(phone.device(), make_job())[0], make_job())
    phone.set(garbage=[*range(100)])
    with pytest.raises(NasError, match=r"must tell the time of .*tools/benchmark"):
        run(phone.device(), make_job())
    phone.set(garbage=[], nan=True)
    with pytest.raises(NasError, match=r"above 0 and at most .*, but is nan"):
        run(phone.device(), make_job())


@pytest.mark.slow
def test_a_model_that_does_not_run_is_named(phone: Phone) -> None:
    models = {"the broken one": b"broken"}
    with pytest.raises(NasError, match=r"cannot run the broken one: .*status 1: .*HARD_SWISH"):
        run(phone.device(), make_job(models))


@pytest.mark.slow
def test_a_full_phone_and_a_bad_cable(phone: Phone) -> None:
    phone.set(full=True)
    with pytest.raises(NasError, match="has no room in /data/local/tmp/nas-cpu"):
        run(phone.device(), make_job())
    phone.set(full=False, corrupt=True)
    with pytest.raises(NasError, match=r"another content there\. Try another cable"):
        run(phone.device(), make_job())
    assert phone.files == ["draft"]


@pytest.mark.slow
def test_a_program_on_the_phone(phone: Phone) -> None:
    there = phone.root / "data/local/tmp/benchmark_model"
    there.write_bytes(phone.benchmark_model.read_bytes())
    there.chmod(0o755)
    device = phone.device(benchmark_model="/data/local/tmp/benchmark_model")
    assert device.facts("litert", 1, ()) == phone.device().facts("litert", 1, ())
    check(run(device, make_job())[0], make_job())
    assert not [name for name in phone.files if name.startswith("benchmark_model")]
    with pytest.raises(NasError, match="must be a file here or on phone PHONE1"):
        phone.device(benchmark_model="/data/local/tmp/none").facts("litert", 1, ())


@pytest.mark.slow
def test_times_of_operators(phone: Phone) -> None:
    name = next(iter(MODELS))
    ops = phone.device().op_times(make_job(), name)
    assert [op.ms for op in ops] == [0.4421, 0.3308, 0.0146, 0.2825]
    phone.set(profile="nothing")
    with pytest.raises(NasError, match="must tell the times of operators"):
        phone.device().op_times(make_job(), name)


def test_wrong_requests(phone: Phone) -> None:
    with pytest.raises(NasError, match=r"runtime litert, but has onnxruntime"):
        phone.device().facts("onnxruntime", 1, ())
    with pytest.raises(NasError, match="cores must be among"):
        phone.device().facts("litert", 1, (9,))
    with pytest.raises(NasError, match="threads must be at most 8"):
        phone.device().facts("litert", 9, ())
    with pytest.raises(NasError, match=r"apt-get install adb.*hardware.connection.adb="):
        phone.device(adb=str(phone.root / "none")).facts("litert", 1, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmark_model": None}, "hardware.connection.benchmark_model=downloads"),
        ({"serial": "-a"}, "serial must be printable and not begin with -"),
        ({"folder": "nas-cpu"}, r"must be a whole path on the phone"),
        ({"max_temperature_c": 0}, "max_temperature_c must be an integer"),
        ({"seriall": "7"}, "connection of a device adb cannot be"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_device("adb", {"benchmark_model": "here"} | options)


@pytest.mark.parametrize(
    ("version", "ms", "n"),
    [("litert_2026", 1.25, 20), ("tflite_2021", 1.25, 20), ("tflite_2019", 1.25, 20)],
)
def test_recorded_outputs(version: str, ms: float, n: int) -> None:
    found = parse_benchmark((DATA / f"{version}.txt").read_text().replace("@US", "1250"))
    assert (found.ms, found.n) == (ms, n)
    # A mean of 1402 us that one long run spoilt is not what counts where the median is told.
    assert found.median_ms == (1.25 if version == "litert_2026" else None)


@pytest.mark.parametrize(
    ("line", "ms"),
    [
        ("count=4 curr=77(all same)", 0.077),
        ("INFO: count=1 curr=1041765", 1041.765),
        ("count=20 first=9 curr=9 min=8 max=1e+06 avg=1.04176e+06 std=3", 1041.76),
    ],
)
def test_other_lines_of_statistics(line: str, ms: float) -> None:
    assert parse_benchmark(f"count=1 curr=5\n{line}\n").ms == pytest.approx(ms)


@pytest.mark.parametrize("us", ["nan", "inf", "-5", "0"])
def test_times_that_cannot_be(us: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        parse_benchmark(f"count=1 curr=5\ncount=2 min=1 avg={us}\n")


@pytest.mark.parametrize("text", ["", "count=1 curr=5\n", "Segmentation fault\n", "avg=7"])
def test_outputs_without_a_time(text: str) -> None:
    with pytest.raises(ValueError, match="prints no line"):
        parse_benchmark(text)


def test_a_summary_alone() -> None:
    line = (
        "Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, Inference (avg): 4"
    )
    assert parse_benchmark(line).ms == 0.004


def test_operators_of_older_versions() -> None:
    ops = parse_op_profile((DATA / "profile_2021.csv").read_text())
    assert [(op.kind, op.ms) for op in ops] == [
        ("CONV_2D", 0.0930388),
        ("DEPTHWISE_CONV_2D", 0.0300884),
        ("CONV_2D", 0.0272269),
    ]
    assert ops[0].name == "[block/expand/Relu6]:0"
    kinds = [op.kind for op in parse_op_profile((DATA / "profile.csv").read_text())]
    assert kinds[:2] == ["Convolution (NHWC, F32) GEMM", "Convolution (NHWC, F32) DWConv"]
    for broken in ("", "node type, first\n", "node type, first, avg_ms, name\nCONV_2D, x\n"):
        with pytest.raises(ValueError, match="table"):
            parse_op_profile(broken)


def test_cores_are_a_mask() -> None:
    words = benchmark_command(
        "b", "g", threads=2, cores=(4, 7), n_warmups=0, n_runs=5, visit_ms=60, profile="p"
    )
    assert words[:3] == ["taskset", "90", "b"]
    assert "--warmup_runs=1" in words and "--max_secs=0.06" in words
    assert words[-2:] == ["--enable_op_profiling=true", "--profiling_output_csv_file=p"]


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        (THERMAL.replace("@DEGREES", "38.4"), 38.4),
        (THERMAL.replace("@DEGREES", "NaN"), 29.8),
        ("Service not found\n  temperature: 312\n", 31.2),
        ("zone cpu-0-0 61000\nzone battery 30100\n", 30.1),
        ("zone skin-therm 36500\nzone battery 30100\n", 36.5),
        ("zone cpu-0-0 61000\n", None),
        ("", None),
    ],
)
def test_heat(text: str, degrees: float | None) -> None:
    assert parse_temperature_c(text) == degrees
