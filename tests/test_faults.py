"""Kills at random moments, and thousands of trials with faults: nothing lost, nothing twice.

The slow tests are short forms of the long ones, `pytest -m long -s tests/test_faults.py`, which
print the figures of docs/workers.md.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from faulty_proxy import FAULTS, FaultyProxy, fault_of, top1_of
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from test_study import SPACE, TABLE

from nas.objective import Reward
from nas.paths import PACKAGE
from nas.results import RunFolder
from nas.search.journal import Journal
from nas.search.records import Target
from nas.search.study import TargetSearch
from nas.workers.contract import Task
from nas.workers.jobs import Judging
from nas.workers.processes import Processes

SHORT = pytest.mark.slow
LONG = [pytest.mark.slow, pytest.mark.long]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
DEADLINE_S = 60
MAX_BYTES_A_TRIAL = 900
"""What the driver may keep of a trial: its figures, its key, its choices, for Optuna and for us."""


# Kills


class Search:
    """The command with two processes, in a folder; begun again when it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        (folder / "conf/proxy").mkdir(parents=True)
        text = "_target_: faulty_proxy.FaultyProxy\nseconds: 0.02\n"
        (folder / "conf/proxy/faulty.yaml").write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, n_trials: int) -> None:
        paths = [str(PACKAGE.parent), str(Path(__file__).parent)]
        words = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "sampler=random")
        workers = ("proxy=faulty", "workers=processes", "workers.n=2")
        rest = (f"n_trials={n_trials}", "hydra.run.dir=run")
        with (self.folder / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nas.search", *words, *workers, *rest],
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def workers(self) -> list[int]:
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError):
            return [int(word) for word in task.read_text().split()]
        return []

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def finished(self) -> list[bytes]:
        """Return the records of finished trials, whole lines alone."""
        journal = self.run / "study.journal"
        content = journal.read_bytes() if journal.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        return [line for line in whole.splitlines() if b'"op_code":4' in line]

    def wait_for(self, n_trials: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while len(self.finished()) < n_trials:
            assert self.is_alive(), (self.folder / "errors").read_text()
            assert time.monotonic() < deadline, "no trials for a minute"
            time.sleep(0.01)


@pytest.mark.parametrize(
    "n_kills", [pytest.param(3, marks=SHORT), pytest.param(100, marks=LONG, id="100")]
)
def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path, n_kills: int) -> None:
    rng = random.Random(0)
    search = Search(tmp_path)
    known: list[bytes] = []
    killed = Counter[str]()
    left: list[int] = []
    for number in range(n_kills):
        if not search.is_alive():
            search.start(10**6)
        if rng.random() < 0.8:  # else even while it starts
            search.wait_for(len(known) + rng.randrange(1, 10))
        time.sleep(rng.random())
        assert search.process is not None
        workers = search.workers()
        # The first two show both kinds, whatever the draw.
        is_driver = number % 2 == 0 if number < 2 else rng.random() < 0.5
        if is_driver or not workers:
            os.kill(search.process.pid, signal.SIGKILL)
            search.process.wait()
            left += workers
            killed["driver"] += 1
        else:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
            killed["worker"] += 1
        now = search.finished()
        assert now[: len(known)] == known, "a finished trial is gone or was changed"
        known = now
    if search.is_alive():
        assert search.process is not None
        search.process.kill()
        search.process.wait()
    known = search.finished()
    n_trials = len(known) + 10
    search.start(n_trials)
    assert search.process is not None
    assert search.process.wait(DEADLINE_S) == 0, (tmp_path / "errors").read_text()
    assert search.finished()[: len(known)] == known
    counts = assert_consistent(search.run, n_trials)
    assert not any(Path(f"/proc/{pid}").exists() for pid in left), "a worker was left behind"
    print(
        f"\n{n_kills} kills ({killed['driver']} of the driver, {killed['worker']} of a worker): "
        f"{n_trials} trials, 0 lost, 0 twice, {counts['failed']} failed"
    )


def assert_consistent(run: Path, n_trials: int) -> Counter[str]:
    """Compare journal and trials.csv, and both with the proxy; return the states."""
    rows = list(csv.DictReader((run / "trials.csv").read_text().splitlines()))
    storage = JournalStorage(JournalFileBackend(str(run / "study.journal")))
    trials = optuna.load_study(storage=storage, study_name="tiny").trials
    assert len(rows) == len(trials) == n_trials
    assert [int(row["trial"]) for row in rows] == list(range(n_trials))
    judged = Counter[str]()
    for row, trial in zip(rows, trials, strict=True):
        assert row["key"] == trial.user_attrs["key"] == SPACE.arch(trial.params).key()
        assert json.loads(row["choices"]) == trial.params
        assert {"complete": 1, "failed": 3}[row["state"]] == trial.state
        assert row["reason"] == trial.user_attrs.get("reason", "")
        assert bool(row["reason"]) == (row["state"] == "failed")
        if row["state"] == "complete":
            assert float(row["top1"]) == pytest.approx(top1_of(row["key"]), abs=1e-4)
            judged[row["key"]] += int(row["is_new"])
    assert set(judged.values()) <= {1}, "a network was judged twice"
    return Counter(row["state"] for row in rows)


# Faults


def faulty(options: dict[str, object]) -> object:
    """Make the work of a `FaultyProxy`; named in the task below."""
    from nas.workers.jobs import judge

    proxy = FaultyProxy(**options)  # type: ignore[arg-type]
    return lambda plain, ask: judge(proxy, Judging.of(plain), ask)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize(
    ("n_trials", "share"),
    [pytest.param(150, 0.1, marks=SHORT), pytest.param(20_000, 0.02, marks=LONG, id="20000")],
)
def test_a_soak_with_faults_keeps_memory_and_files(
    tmp_path: Path, n_trials: int, share: float
) -> None:
    kinds = list(FAULTS)
    with_faults = soaked(tmp_path / "faults", n_trials, share)
    without = soaked(tmp_path / "none", n_trials, 0.0)
    counts = assert_consistent(tmp_path / "faults", n_trials)
    told = Counter[str]()
    for row in csv.DictReader((tmp_path / "faults/trials.csv").read_text().splitlines()):
        fault = fault_of(row["key"], kinds, share)
        told[fault] += 1
        assert (row["state"] == "failed") == bool(fault)
        assert FAULTS.get(fault, "") in row["reason"]
    assert set(told) == {"", *kinds}
    # What a search keeps of each trial grows; workers and their faults must add nothing to it.
    assert with_faults["mib"] < 1.25 * without["mib"] + 4
    if n_trials >= 10_000:  # of fewer, what is read and compiled on the way is most of it
        assert bytes_a_trial(without, n_trials) < MAX_BYTES_A_TRIAL
        assert bytes_a_trial(with_faults, n_trials) < MAX_BYTES_A_TRIAL
    # One of the two may have been replaced just now, or not yet.
    assert with_faults["files"] <= 3
    print(
        f"\n{n_trials} trials, {counts['failed']} failed ({dict(told)}): driver "
        f"{with_faults['mib']:+.1f} MiB, without workers and faults {without['mib']:+.1f}, "
        f"{bytes_a_trial(without, n_trials):.0f} bytes a trial; "
        f"{with_faults['seconds']:.0f} s"
    )


def bytes_a_trial(grown: dict[str, float], n_trials: int) -> float:
    return grown["mib"] * 2**20 / (n_trials - n_trials // 10)


def soaked(folder: Path, n_trials: int, share: float) -> dict[str, float]:
    """Run a soak in a process of its own, whose memory nothing else has touched."""
    paths = os.pathsep.join([str(PACKAGE.parent), str(Path(__file__).parent)])
    code = "import sys, test_faults; test_faults.soak(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(n_trials), str(share)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def soak(folder: str, n_trials: str, share: str) -> None:
    """Print by how much memory and open files grow after the first tenth of a search.

    With a share of faults the networks are judged by processes, else in this one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run = RunFolder(Path(folder))
    journal = Journal(run.journal)
    options = {"faults": list(FAULTS), "share": float(share)}
    task = Task(function="test_faults:faulty", options=options, plain=Judging.plain)
    staff = Processes(n=2, timeout_s=0.5, memory_mib=1024)
    workers = staff.start(task) if options["share"] else None
    search = TargetSearch(
        target=Target(
            name="tiny", space=SPACE, target_ms=3.0, objective=Reward(), n_trials=int(n_trials)
        ),
        table=TABLE,
        proxy=FaultyProxy(),
        storage=journal,
        make_sampler=lambda seed: RandomSampler(seed=seed),
        sampler_name="random",
        workers=workers,
    )
    trials = run.open_trials([])
    begun, mib, n_files = time.monotonic(), 0.0, 0
    for finished in search.run():
        trials.add(finished.row("tiny"))
        if finished.number == int(n_trials) // 10:
            mib, n_files = resident_mib(), n_open_files()
    grown = {"mib": resident_mib() - mib, "files": n_open_files() - n_files}
    print(json.dumps({**grown, "seconds": time.monotonic() - begun}))
    if workers is not None:
        workers.close()
    trials.close()
    journal.close()


def n_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
