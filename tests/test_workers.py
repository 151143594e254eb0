"""Workers: what each kind promises alike, and what processes do about those that go wrong."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_data import patterns

from nas.data import cache
from nas.errors import NasError, NetworkError
from nas.paths import PACKAGE
from nas.workers.automatic import Automatic
from nas.workers.contract import Ended, Failure, Staff, Task, Workers
from nas.workers.cores import n_cores
from nas.workers.local import Local
from nas.workers.processes import Processes, ProcessWorkers
from nas.workers.ray_cluster import RayCluster, check_answers

TASK = Task(function="worker_tasks:make")


@pytest.fixture(
    scope="module", params=["local", "processes", pytest.param("ray", marks=pytest.mark.slow)]
)
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Yield workers of each kind: what one test does to them must not touch the next."""
    staff: dict[str, Staff] = {
        "local": Local(),
        "processes": Processes(n=2),
        "ray": RayCluster(n=2),
    }
    before = signal.getsignal(signal.SIGTERM)
    started = staff[request.param].start(TASK)
    assert signal.getsignal(signal.SIGTERM) == before
    yield started
    started.close()


@pytest.fixture
def processes() -> Iterator[Callable[..., ProcessWorkers]]:
    started: list[ProcessWorkers] = []

    def start(options: dict[str, Any] | None = None, **limits: Any) -> ProcessWorkers:
        task = Task(function="worker_tasks:make", options=options or {})
        started.append(Processes(**limits).start(task))
        return started[-1]

    yield start
    for one in started:
        one.close()


def ends(workers: Workers, *jobs: list[Any]) -> list[Ended]:
    """Submit jobs and return how they ended, in their own order."""
    numbers = [workers.submit(job) for job in jobs]
    found = dict[int, Ended]()
    while len(found) < len(jobs):
        got = workers.ended()
        assert got, "workers with jobs gave none back"
        found |= {one.number: one for one in got}
    return [found[number] for number in numbers]


def failure(ended: Ended) -> Failure:
    assert ended.failure is not None
    return ended.failure


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def gone(pids: list[int], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def test_each_job_gets_its_own_answer(workers: Workers) -> None:
    found = ends(workers, *(["double", number + 0.1] for number in range(20)))
    assert [one.value for one in found] == [2 * (number + 0.1) for number in range(20)]
    assert len({one.number for one in found}) == 20


def test_without_jobs_nothing_ends_and_nobody_waits(workers: Workers) -> None:
    assert workers.ended() == []


def test_seconds_are_those_of_the_work(workers: Workers) -> None:
    (one,) = ends(workers, ["sleep", 0.05])
    assert 0.05 <= one.seconds < 5


@pytest.mark.parametrize(
    ("kind", "expected", "reason"),
    [
        ("network", "network", "the loss must be a number."),
        ("options", "options", "proxy.width must be above 0."),
        ("error", "error", "ZeroDivisionError: division by zero (worker_tasks.py, line "),
        ("exit", "error", "SystemExit: 3 (worker_tasks.py, line "),
    ],
)
def test_an_exception_is_a_failure_and_the_next_job_is_done(
    workers: Workers, kind: str, expected: str, reason: str
) -> None:
    failed, fine = ends(workers, ["fail", kind], ["double", 2])
    assert failure(failed).kind == expected
    assert failure(failed).reason.startswith(reason)
    assert type(failure(failed).error()) is (NasError if kind == "options" else NetworkError)
    assert fine.value == 4


def test_work_asks_and_stops_where_it_is_told(workers: Workers) -> None:
    heard: list[Any] = []

    def on_ask(question: Any) -> bool:
        heard.append(question)
        return bool(question[0] == 3)

    number = workers.submit(["talk", 8], on_ask)
    found: list[Ended] = []
    while not found:
        found = workers.ended()
    assert (found[0].number, found[0].value) == (number, 3)
    assert [list(one) for one in heard] == [[0, 0.0], [1, 0.5], [2, 1.0], [3, 1.5]]


@pytest.mark.parametrize(
    "workers", ["processes", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)
def test_a_worker_that_dies_is_replaced_and_its_job_tried_again(
    workers: Workers, tmp_path: Path
) -> None:
    lost, again, fine = ends(
        workers, ["die", "SIGKILL"], ["die_once", str(tmp_path / "file")], ["double", 2]
    )
    assert failure(lost).kind == "lost"
    assert failure(lost).reason.startswith("its worker ")
    assert again.value == "alive"
    assert fine.value == 4


@pytest.mark.slow
def test_a_work_that_prints_and_reads_disturbs_nobody(
    processes: Callable[..., ProcessWorkers],
) -> None:
    one, two = ends(processes(n=1), ["chatter"], ["double", 1])
    assert (one.value, two.value) == ("", 2)


@pytest.mark.slow
def test_processes_work_side_by_side_with_one_thread_each(
    processes: Callable[..., ProcessWorkers],
) -> None:
    workers = processes(n=2)
    numbers = {workers.submit(["sleep", 0.2]) for _ in range(2)}
    pids = set(workers.pids)
    assert len(pids) == 2
    assert workers.ended(timeout=0.05) == []
    while numbers:
        numbers -= {one.number for one in workers.ended()}
    found = [one.value for one in ends(workers, ["whoami"], ["whoami"])]
    assert {one["pid"] for one in found} <= pids
    assert {one["threads"] for one in found} == {"1"}
    assert os.getpid() not in pids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (["die", "SIGSEGV"], "its worker was killed by SIGSEGV"),
        (["leave", 7], "its worker exited with code 7: no room"),
    ],
)
def test_a_job_whose_worker_dies_twice_is_lost_with_the_reason(
    processes: Callable[..., ProcessWorkers], job: list[Any], reason: str
) -> None:
    lost, fine = ends(processes(n=1), job, ["double", 2])
    assert failure(lost).kind == "lost"
    assert failure(lost).reason.startswith(reason)
    assert fine.value == 4


def test_a_job_that_hangs_is_killed_and_told(processes: Callable[..., ProcessWorkers]) -> None:
    workers = processes(n=1, timeout_s=0.3)
    hung, fine = ends(workers, ["sleep", 600], ["double", 2])
    assert failure(hung) == Failure(kind="lost", reason="it took longer than 0.3 s")
    assert 0.3 <= hung.seconds < 10
    assert fine.value == 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no such limit")
def test_a_job_that_eats_memory_is_told(processes: Callable[..., ProcessWorkers]) -> None:
    eater, fine = ends(processes(n=1, memory_mib=256), ["eat"], ["double", 2])
    assert failure(eater).reason.startswith("MemoryError")
    assert fine.value == 4
    assert ends(processes(n=1, memory_mib=1024), ["eat"])[0].value == 2**28


@pytest.mark.slow
def test_wrong_options_and_workers_that_cannot_start_end_it(
    processes: Callable[..., ProcessWorkers],
) -> None:
    workers = processes({"is_wrong": True}, n=1)
    workers.submit(["double", 1])
    with pytest.raises(NasError, match=r"a worker cannot start: proxy\.width must be above 0"):
        workers.ended()
    workers = processes({"dies_at_start": True}, n=2)
    workers.submit(["double", 1])
    with pytest.raises(NasError, match="no worker gets ready: its worker was killed by SIGKILL"):
        while True:
            workers.ended()


def test_a_task_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(NasError, match=r"package\.module:function.*nowhere:make"):
        Local().start(Task(function="nowhere:make"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "workers.n must be an integer from 1"),
        ({"n": True}, "workers.n must be"),
        ({"timeout_s": 0}, "workers.timeout_s must be seconds above 0, but is 0"),
        ({"timeout_s": "ten"}, "workers.timeout_s must be"),
        ({"memory_mib": 8}, "workers.memory_mib must be an integer from 64"),
    ],
)
@pytest.mark.parametrize("kind", [Processes, Automatic])
def test_options_out_of_bounds_are_refused(
    kind: type, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasError, match=message):
        kind(**options)


@pytest.mark.slow
def test_closing_ends_every_process(processes: Callable[..., ProcessWorkers]) -> None:
    workers = processes(n=2)
    workers.submit(["sleep", 600])
    workers.submit(["double", 1])
    assert workers.ended()
    pids = workers.pids
    workers.close()
    assert len(pids) == 2
    assert gone(pids)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_no_process_outlives_its_parent(tmp_path: Path, name: str) -> None:
    code = f"""
        import signal, sys, time
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(PACKAGE.parent)!r}]
        from nas.workers.contract import Task
        from nas.workers.processes import Processes
        # A shell that runs in the background has its commands ignore interruptions.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        workers = Processes(n=2).start(Task(function="worker_tasks:make"))
        try:
            workers.submit(["double", 1])
            workers.ended()
            workers.submit(["sleep", 600]), workers.submit(["sleep", 600])
            print(*workers.pids, flush=True)
            workers.ended()
        finally:
            workers.close()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    os.kill(parent.pid, signal.Signals[name])
    parent.wait(20)
    parent.stdout.close()
    assert gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_images_from_the_cache_are_pages_that_workers_share(tmp_path: Path) -> None:
    data = patterns()
    parts = {"train": data.train, "validation": data.validation}
    data = replace(data, digest=cache.content_digest(data.classes, parts))
    cache.keep("patterns", data, tmp_path)
    found = cache.find("patterns", tmp_path)
    assert found is not None
    assert found.train.pixels.equal(data.train.pixels)
    [file] = tmp_path.iterdir()
    address = found.train.pixels.data_ptr()
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [
        [int(end, 16) for end in words[0].split("-")] for words in mapped if words[-1] == str(file)
    ]
    assert any(low <= address < high for low, high in spans)


def test_cores_are_those_of_the_mask_and_the_container(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    every = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for text, expected in [
        ("max 100000", every),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("99900000 100000", every),
        ("nonsense", every),
    ]:
        limit.write_text(text)
        assert n_cores(limit) == expected
    assert n_cores(tmp_path / "none") == every


@pytest.mark.parametrize(
    ("options", "is_dear", "expected"),
    [
        ({"n": 2}, True, "2 processes"),
        ({"n": 2}, False, "this process"),
        ({"n": 1}, True, "this process"),
        ({"n": 1, "timeout_s": 5}, False, "1 process"),
    ],
)
def test_automatic_workers_fit_the_work(
    options: dict[str, Any], is_dear: bool, expected: str
) -> None:
    workers = Automatic(**options).start(Task(function="worker_tasks:make", is_dear=is_dear))
    assert workers.description == expected
    workers.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": -1}, "workers.cpus must be from 0 to 1024, but is -1"),
        ({"cpus": 1.5}, "workers.cpus must be a whole number above 1, but is 1.5"),
        ({"cpus": 0}, "workers.cpus or workers.gpus must be above 0"),
        ({"gpus": "all"}, "workers.gpus must be from 0 to 1024, but is 'all'"),
        ({"n": 0}, "workers.n must be an integer from 1"),
    ],
)
def test_options_of_ray_out_of_bounds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        RayCluster(**options)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "workers.address must be host:port, ray://host:port or auto"),
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1.*ray start --head --port=1"),
        ("ray://127.0.0.1:1", "no Ray cluster answers at ray://127.0.0.1:1"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once(address: str, message: str) -> None:
    with pytest.raises(NasError, match=message):
        check_answers(address)


def test_ray_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NasError, match=r'pip install "nas-cpu\[ray\]"'):
        RayCluster().start(TASK)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("workers", ["ray"], indirect=True)
def test_a_cluster_of_its_own_keeps_to_the_loopback_and_ends(workers: Workers) -> None:
    assert ends(workers, ["double", 2])[0].value == 4
    family = [pid for pid in descendants(os.getpid()) if is_of_ray(pid)]
    places = [place for pid in family for place in listening(pid)]
    assert len(places) > 3
    assert set(places) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    workers.close()
    assert gone(family)


def is_of_ray(pid: int) -> bool:
    return b"ray" in Path(f"/proc/{pid}/cmdline").read_bytes()


def descendants(pid: int) -> list[int]:
    children = dict[int, list[int]]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(") ")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = children.get(pid, [])
    return found + [one for child in found for one in descendants(child)]


def listening(pid: int) -> list[str]:
    """Return the addresses on which a process listens, in the kernel's hexadecimal."""
    links = list[str]()
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            links.append(os.readlink(path))
    found = list[str]()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in links:
                found.append(words[1].rpartition(":")[0])
    return found
