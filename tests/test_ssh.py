"""Boards over ssh: a real sshd on this machine, and all that breaks between a host and a board."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from nas.errors import NasError
from nas.latency.devices.registry import load_device
from nas.latency.devices.remote_shell import RemoteShell
from nas.latency.devices.ssh import SshDevice
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Plan, Reading

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
NAMES = ("one", "two; touch pwned", "mb k5 24>72>40 s2 se24 re @56")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None,
    reason="needs sshd and ssh: apt-get install openssh-server openssh-client",
)


class Sshd:
    """An ssh server of its own: keys, port and settings in one folder."""

    def __init__(self, folder: Path, *, forced: str = "") -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        for name in ("host_key", "key", "wrong_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        # The login's home is that of whoever tests; the folder is named in full instead.
        (folder / "sshd_config").write_text(
            textwrap.dedent(f"""\
                ListenAddress 127.0.0.1
                Port {self.port}
                HostKey {folder}/host_key
                AuthorizedKeysFile {folder}/authorized_keys
                PidFile {folder}/sshd.pid
                StrictModes no
                UsePAM no
                PasswordAuthentication no
                {forced}
                """)
        )
        host_key = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (folder / "ssh_config").write_text(
            textwrap.dedent(f"""\
                Host board
                  HostName 127.0.0.1
                  Port {self.port}
                  IdentityFile {folder}/key
                  IdentitiesOnly yes
                  UserKnownHostsFile {folder}/known_hosts
                """)
        )
        self.start()

    def start(self) -> None:
        assert SSHD is not None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        words = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(words, stderr=log)
        deadline = time.monotonic() + 10
        while not self._is_listening():
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        self.cut()
        self._process.terminate()
        self._process.wait()

    def cut(self) -> int:
        """Kill the processes that serve connections, and return how many there were."""
        children = _descendants(self._process.pid, "sshd")
        for child in children:
            os.kill(child, signal.SIGKILL)
        return len(children)

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def root(self) -> Path:
        return self.home / "nas-cpu"

    def connection(self, **options: Any) -> dict[str, Any]:
        known = {
            "host": "board",
            "config_file": str(self.folder / "ssh_config"),
            "python": sys.executable,
            "folder": str(self.root),
            "give_up_s": 30,
        }
        return known | options

    def device(self, **options: Any) -> SshDevice:
        return SshDevice(**self.connection(**options))


def _descendants(pid: int, name: str) -> list[int]:
    """Return the processes under `pid` with that name, deepest first."""
    found = []
    for child in _children(pid):
        found += _descendants(child, name)
        if (Path(f"/proc/{child}/comm").read_text().strip()) == name:
            found.append(child)
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    made = Sshd(tmp_path_factory.mktemp("sshd"))
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def no_worker_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        made: Sshd = request.getfixturevalue("server")
        if (pid := _worker_pid(made)) is not None:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(made.root, ignore_errors=True)


def _worker_pid(server: Sshd) -> int | None:
    path = server.root / "worker.lock"
    words = path.read_text().split() if path.exists() else []
    if not words:
        return None
    words_of = Path(f"/proc/{words[0]}/cmdline")
    is_ours = words_of.exists() and str(server.root) in words_of.read_text()
    return int(words[0]) if is_ours else None


def model(n_pixels: int = 8) -> bytes:
    """Return a small ONNX network: ten times Relu."""
    shape = [1, 4, n_pixels, n_pixels]
    names = ["input", *(f"x{number}" for number in range(9)), "output"]
    nodes = [helper.make_node("Relu", [one], [two]) for one, two in pairwise(names)]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, "relu", ports[:1], ports[-1:])
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    content: bytes = onnx.ModelProto.SerializeToString(made)
    return content


def make_job(n_rounds: int = 4, models: dict[str, bytes] | None = None) -> Job:
    known = {name: model(8 + number) for number, name in enumerate(NAMES)}
    plan = Plan(n_rounds=n_rounds, n_warmups=1, n_runs=2, anchor_every=2)
    return Job(runtime="onnxruntime", plan=plan, models=models or known, anchor=model(6))


def slow_job(n_rounds: int = 150) -> Job:
    """Return a job of some seconds."""
    models = {name: model(300 + number) for number, name in enumerate(NAMES)}
    plan = Plan(n_rounds=n_rounds, n_warmups=1, n_runs=4, anchor_every=2)
    return Job(runtime="onnxruntime", plan=plan, models=models, anchor=model(50))


def ignore(what: str, n_done: int, n_all: int) -> None:
    pass


def check_complete(readings: list[Reading], job: Job) -> None:
    counts = Counter((one.name, one.round) for one in readings if one.name != ANCHOR)
    assert counts == {(name, number): 1 for name in job.models for number in job.plan.rounds}
    assert all(1 <= len(one.times_ms) <= job.plan.n_runs for one in readings)
    starts = [one.at_s for one in readings]
    assert starts == sorted(set(starts))
    assert {one.round for one in readings if one.name == ANCHOR} == set(job.plan.rounds)


@needs_sshd
def test_facts(server: Sshd) -> None:
    facts = server.device().facts("onnxruntime", 1, ())
    import onnxruntime  # type: ignore[import-untyped]

    assert facts.runtime_version == onnxruntime.__version__
    assert facts.n_cores == os.cpu_count()
    assert len(facts.cores) == 1


@needs_sshd
@pytest.mark.slow
def test_measuring(server: Sshd) -> None:
    job, steps = make_job(), list[tuple[str, int, int]]()
    device = load_device("ssh", server.connection())
    readings = list(
        device.time(job, done=(), start_s=5.0, on_step=lambda *step: steps.append(step))
    )
    check_complete(readings, job)
    assert readings[0].at_s >= 5.0
    assert ("copying", 4, 4) in steps
    assert ("opening", 3, 3) in steps
    # Once all is fetched, the board keeps the models only.
    assert not [*server.root.glob("readings-*"), *server.root.glob("job-*")]
    assert len([*(server.root / "models").iterdir()]) == 4
    assert not Path("pwned").exists() and not (Path.home() / "pwned").exists()


@needs_sshd
@pytest.mark.slow
def test_models_are_copied_once(server: Sshd) -> None:
    job, steps = make_job(), list[str]()
    device = server.device()
    for is_first in (True, False):
        steps.clear()
        readings = device.time(
            job, done=(), start_s=0.0, on_step=lambda what, *_: steps.append(what)
        )
        check_complete(list(readings), job)
        assert ("copying" in steps) == is_first


@needs_sshd
@pytest.mark.slow
def test_what_is_done_is_left_out(server: Sshd) -> None:
    job = make_job()
    done = {(name, number) for name in NAMES for number in range(4)} - {(NAMES[1], 2)}
    readings = list(server.device().time(job, done=done, start_s=0.0, on_step=ignore))
    assert [(one.name, one.round) for one in readings if one.name != ANCHOR] == [(NAMES[1], 2)]
    everything = done | {(NAMES[1], 2)}
    assert not list(server.device().time(job, done=everything, start_s=0.0, on_step=ignore))


def cutting(readings: Iterator[Reading], at: set[int], cut: Callable[[], object]) -> list[Reading]:
    """Return all readings, and `cut` after those numbers of them."""
    found: list[Reading] = []
    for reading in readings:
        found.append(reading)
        if len(found) in at:
            cut()
    return found


@needs_sshd
@pytest.mark.slow
def test_connections_that_break_lose_nothing(server: Sshd) -> None:
    job, steps, cuts = slow_job(400), list[str](), list[int]()
    readings = cutting(
        server.device().time(
            job, done=(), start_s=0.0, on_step=lambda what, *_: steps.append(what)
        ),
        {40, 800},
        lambda: cuts.append(server.cut()),
    )
    check_complete(readings, job)
    assert all(cuts)
    assert "reconnecting" in steps


@needs_sshd
@pytest.mark.slow
def test_a_server_that_restarts_loses_nothing(server: Sshd) -> None:
    job = slow_job()

    def restart() -> None:
        server.stop()
        time.sleep(1)
        server.start()

    device = server.device()
    readings = cutting(device.time(job, done=(), start_s=0.0, on_step=ignore), {40}, restart)
    check_complete(readings, job)


@pytest.mark.long
@needs_sshd
@pytest.mark.slow
def test_clients_that_are_killed_lose_nothing(server: Sshd) -> None:
    job, killed = slow_job(400), list[int]()

    def kill() -> None:
        for child in _descendants(os.getpid(), "ssh"):
            os.kill(child, signal.SIGKILL)
            killed.append(child)

    device = server.device()
    readings = cutting(device.time(job, done=(), start_s=0.0, on_step=ignore), {40, 800}, kill)
    check_complete(readings, job)
    assert len(killed) == 2


@needs_sshd
@pytest.mark.slow
def test_a_runner_that_is_killed_goes_on_from_whole_lines(server: Sshd) -> None:
    job = slow_job(400)

    def kill() -> None:
        pid = _worker_pid(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        (path,) = server.root.glob("readings-*")
        with path.open("ab") as file:
            file.write(b'{"name": "one", "rou')

    device = server.device()
    readings = cutting(device.time(job, done=(), start_s=0.0, on_step=ignore), {40, 800}, kill)
    check_complete(readings, job)


@pytest.mark.long
@needs_sshd
@pytest.mark.slow
def test_a_runner_that_always_dies_is_given_up(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'work' in sys.orig_argv:\n    os.kill(os.getpid(), 9)\n"
    )
    python = _script(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    with pytest.raises(NasError, match=r"without a reading, 3 times.*dmesg"):
        list(server.device(python=python).time(make_job(), done=(), start_s=0.0, on_step=ignore))


HOST = """
import json, sys
from dataclasses import asdict
from test_ssh import slow_job
from nas.latency.devices.ssh import SshDevice

device = SshDevice(**json.loads(sys.argv[1]))
for reading in device.time(slow_job(), done=(), start_s=0.0, on_step=lambda *step: None):
    print(json.dumps(asdict(reading)), flush=True)
"""


def _host(server: Sshd) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOST, json.dumps(server.connection())],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )


def _some(host: "subprocess.Popen[str]", n: int) -> list[Reading]:
    assert host.stdout is not None
    lines = [host.stdout.readline() for _ in range(n)]
    contents = [json.loads(line) for line in lines if line.endswith("\n")]
    return [Reading(**one | {"times_ms": tuple(one["times_ms"])}) for one in contents]


@needs_sshd
@pytest.mark.slow
def test_a_host_that_is_killed_finds_what_the_board_has(server: Sshd) -> None:
    job = slow_job()
    with _host(server) as host:
        first = _some(host, 50)
        host.kill()
    pid = _worker_pid(server)
    assert pid is not None, "the board must go on by itself"
    (path,) = server.root.glob("readings-*")
    n_kept = len(path.read_bytes())
    time.sleep(1)
    assert len(path.read_bytes()) > n_kept
    done = {(one.name, one.round) for one in first}
    # Only what is left comes again, as from a host that exports what it lacks.
    rest = list(server.device().time(job, done=done, start_s=first[-1].at_s, on_step=ignore))
    visits = [(one.name, one.round) for one in (*first, *rest) if one.name != ANCHOR]
    assert len(visits) == len(set(visits)) == 3 * 150
    starts = [one.at_s for one in (*first, *rest)]
    assert starts == sorted(set(starts))
    assert _worker_pid(server) is None


@pytest.mark.long
@needs_sshd
@pytest.mark.slow
def test_an_interrupted_host_stops_the_board(server: Sshd) -> None:
    with _host(server) as host:
        first = _some(host, 50)
        assert _worker_pid(server) is not None
        host.send_signal(signal.SIGINT)
        host.communicate(timeout=20)
    assert _worker_pid(server) is None
    job = slow_job()
    done = {(one.name, one.round) for one in first}
    rest = list(server.device().time(job, done=done, start_s=first[-1].at_s, on_step=ignore))
    visits = [(one.name, one.round) for one in (*first, *rest) if one.name != ANCHOR]
    assert len(visits) == len(set(visits)) == 3 * 150


@needs_sshd
@pytest.mark.slow
def test_an_early_stop_fetches_first_and_forgetting_measures_anew(server: Sshd) -> None:
    job = slow_job(60)
    device = server.device()
    some = device.time(job, done=(), start_s=0.0, on_step=ignore)
    first = [next(some) for _ in range(30)]
    _close(some)
    assert _worker_pid(server) is None
    again = device.time(job, done=(), start_s=0.0, on_step=ignore)
    assert [next(again) for _ in range(30)] == first
    _close(again)
    device.forget()
    anew = list(device.time(job, done=(), start_s=0.0, on_step=ignore))
    check_complete(anew, job)
    assert not {one.times_ms for one in first} & {one.times_ms for one in anew}


def _close(readings: Iterator[Reading]) -> None:
    assert isinstance(readings, Generator)
    readings.close()


@pytest.mark.long
@needs_sshd
@pytest.mark.slow
def test_a_new_job_stops_the_old_one(server: Sshd) -> None:
    device = server.device()
    some = device.time(slow_job(2000), done=(), start_s=0.0, on_step=ignore)
    next(some)
    check_complete(
        list(server.device().time(make_job(), done=(), start_s=0.0, on_step=ignore)), make_job()
    )
    with pytest.raises(NasError, match="stopped from elsewhere"):
        list(some)


def _script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@needs_sshd
def test_missing_programs_are_named(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(
        NasError, match=r"board has no program nopython.*hardware.connection.python="
    ):
        server.device(python="nopython").facts("onnxruntime", 1, ())
    bare = _script(tmp_path, f'exec {sys.executable} -I -S "$@"')
    with pytest.raises(NasError, match=r"numpy.*ssh board .*python -m pip install numpy"):
        server.device(python=bare).facts("onnxruntime", 1, ())


@needs_sshd
@pytest.mark.slow
def test_missing_runtimes_and_old_pythons_are_named(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no wheel for this board')\n")
    bare = _script(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    with pytest.raises(NasError, match=r"no wheel.*ssh board .* -m pip install onnxruntime"):
        server.device(python=bare).facts("onnxruntime", 1, ())
    old = _script(tmp_path, f"exec {sys.executable} -c '{OLD}' \"$@\"")
    with pytest.raises(NasError, match=r"Python 3\.7.*Python 3\.10 or newer"):
        server.device(python=old).facts("onnxruntime", 1, ())


OLD = "import sys; sys.version_info = (3, 7, 2); code = sys.argv[2]; exec(code)"


@needs_sshd
@pytest.mark.slow
def test_wrong_cores_are_refused(server: Sshd) -> None:
    with pytest.raises(NasError, match="cores must be among"):
        server.device().facts("onnxruntime", 1, (4096,))


@needs_sshd
@pytest.mark.slow
def test_out_of_reach(server: Sshd) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        with pytest.raises(NasError, match=r"board cannot be reached: .*refused.*ssh board"):
            server.device(port=port).facts("onnxruntime", 1, ())
    wrong = [f"IdentityFile={server.folder}/wrong_key", "IdentitiesOnly=yes"]
    config = server.folder / "bare_config"
    config.write_text(f"UserKnownHostsFile {server.folder}/known_hosts\n")
    options = {"host": "127.0.0.1", "port": server.port, "config_file": str(config)}
    with pytest.raises(NasError, match=r"Permission denied.*ssh-copy-id 127.0.0.1"):
        server.device(**options, options=wrong).facts("onnxruntime", 1, ())
    strange = [f"UserKnownHostsFile={server.folder}/none"]
    with pytest.raises(NasError, match=r"Look at its key once"):
        server.device(options=strange).facts("onnxruntime", 1, ())
    # The same key by its own option.
    key = str(server.folder / "key")
    assert server.device(**options, identity_file=key).facts("onnxruntime", 1, ()).n_cores


@pytest.mark.long
@needs_sshd
@pytest.mark.slow
def test_a_board_that_stays_away_is_given_up(server: Sshd) -> None:
    some = server.device(give_up_s=2).time(slow_job(2000), done=(), start_s=0.0, on_step=ignore)
    next(some)
    server.stop()
    try:
        with pytest.raises(NasError, match=r"Gave up after 2 s.*fetches what it has"):
            list(some)
        assert _worker_pid(server) is not None
    finally:
        server.start()


@needs_sshd
@pytest.mark.slow
def test_a_model_that_does_not_run_is_named(server: Sshd) -> None:
    models = {"one": model(), "the broken one": b"no model"}
    with pytest.raises(NasError, match=r"board could not go on: .*the broken one"):
        list(server.device().time(make_job(models=models), done=(), start_s=0.0, on_step=ignore))


@needs_sshd
@pytest.mark.slow
def test_a_full_disk(server: Sshd) -> None:
    """The disk is a limit on the size of files where no file system may be mounted."""
    device, big = server.device(), make_job(models={"one": os.urandom(3 * 2**20)})
    server.root.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(server.root)]
    is_mounted = subprocess.run(words, capture_output=True).returncode == 0
    if not is_mounted:
        python = _script(server.home, f'ulimit -f 1024; exec {sys.executable} "$@"')
        device = server.device(python=python)
    try:
        with pytest.raises(NasError, match=r"Make room there.*rm -r .*Then the same command"):
            list(device.time(big, done=(), start_s=0.0, on_step=ignore))
        assert not [*(server.root / "models").iterdir()]
    finally:
        if is_mounted:
            subprocess.run(["umount", str(server.root)], check=True)


@pytest.mark.long
@needs_sshd
@pytest.mark.slow
def test_models_that_arrive_or_lie_broken(server: Sshd, tmp_path: Path) -> None:
    """A line that flips a byte, the first time only; then a disk that loses a file's content."""
    once = tmp_path / "once"
    once.touch()
    flip = (
        f'case " $* " in *" receive "*) if rm {once} 2>/dev/null; '
        f"then tr '\\037' '\\036' | {sys.executable} \"$@\"; exit; fi;; esac; "
        f'exec {sys.executable} "$@"'
    )
    job = make_job(models={"one": model(), "two": model(9)})
    device = server.device(python=_script(tmp_path, flip))
    check_complete(list(device.time(job, done=(), start_s=0.0, on_step=ignore)), job)
    assert not once.exists()
    for path in (server.root / "models").iterdir():
        path.write_bytes(b"")
    check_complete(list(device.time(job, done=(), start_s=0.0, on_step=ignore)), job)
    always = _script(tmp_path, flip.replace(f"if rm {once} 2>/dev/null", "if true"))
    shutil.rmtree(server.root)
    with pytest.raises(NasError, match=r"connection or the disk over there is broken"):
        list(server.device(python=always).time(job, done=(), start_s=0.0, on_step=ignore))


@pytest.mark.parametrize(
    "host",
    ["-oProxyCommand=touch pwned", "pi@-board", "a b", "a\nb", "a;b", "$(a)", "", "a\x7f", 7],
)
def test_hosts_that_are_none_are_refused(host: Any) -> None:
    with pytest.raises(NasError, match=r"hardware.connection.host=pi@raspberrypi.local"):
        SshDevice(host=host)


def test_a_missing_host_is_asked_for() -> None:
    with pytest.raises(NasError, match=r"hardware.connection.host=pi@raspberrypi.local"):
        load_device("ssh", {"host": None})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "port must be an integer from 1 to 65535"),
        ({"python": "-c"}, "python must be printable and not begin with -"),
        ({"folder": ""}, "folder must be 1 to 200 printable characters"),
        ({"options": "ProxyJump=gate"}, "options must be a list"),
        ({"give_up_s": 0}, "give_up_s must be an integer"),
        ({"hots": "pi"}, "connection of a device ssh cannot be"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_device("ssh", {"host": "pi@board"} | options)


def test_words_cross_the_remote_shell_unread() -> None:
    shell = RemoteShell(host="pi@board", options=("Port=7",), identity_file="a key")
    line = shell.command(["python3", "a b; c", "$(d)", "it's"])
    assert line[-3:-1] == ["--", "pi@board"]
    assert line[line.index("-i") + 1] == "a key"
    assert line.index("Port=7") < line.index("BatchMode=yes")
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {line[-1]}"], capture_output=True, text=True
    )
    assert words.stdout.splitlines() == ["python3", "a b; c", "$(d)", "it's"]
