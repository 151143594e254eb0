"""Searches that share a study in a real PostgreSQL: what is kept when they or it are killed."""

import csv
import json
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from postgres import Postgres, needs_postgresql
from test_shared import trial

from nas.errors import NasError
from nas.search.connection import connect
from nas.search.journal import Journal
from nas.search.shared import SharedStudies

pytestmark = [pytest.mark.slow, needs_postgresql]
TESTS = Path(__file__).parent
N_FILLED = 4
TINY = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    started = Postgres()
    yield started
    started.close()


@pytest.fixture
def database(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """Return the server with an empty database, and let this process log in."""
    server.sql("DROP DATABASE IF EXISTS nas WITH (FORCE)", database="postgres")
    server.sql("CREATE DATABASE nas", database="postgres")
    monkeypatch.setenv("PGPASSWORD", server.password)
    return server


def start(folder: Path, words: list[str], database: Postgres) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=database.environment() | {"OMP_NUM_THREADS": "1"},
    )


def stored(database: Postgres, study: str = "mine-tiny") -> list[FrozenTrial]:
    connection = connect(database.address)
    try:
        return optuna.load_study(storage=connection.storage, study_name=study).trials
    finally:
        connection.close()


def journalled(folder: Path) -> list[str]:
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return [
        one.user_attrs["id"] for one in optuna.load_study(storage=storage, study_name="tiny").trials
    ]


def test_two_commands_share_a_study(database: Postgres, tmp_path: Path) -> None:
    words = [*TINY, "n_trials=30", "study=mine", f"storage={database.address}"]
    started = [
        start(tmp_path, ["-m", "nas.search", *words, f"hydra.run.dir={name}"], database)
        for name in ("one", "two")
    ]
    for process in started:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed
    trials = stored(database)
    assert [one.number for one in trials] == list(range(len(trials)))
    assert 30 <= len(trials) <= 31
    assert {one.state for one in trials} == {TrialState.COMPLETE}
    by_run = Counter(one.user_attrs["id"].partition("-")[0] for one in trials)
    assert len(by_run) == 2
    # The first draws of both are random: were the seeds alike, they would be as well.
    firsts = [
        [tuple(one.params.values()) for one in trials if one.user_attrs["id"].startswith(run)]
        for run in by_run
    ]
    assert firsts[0][:3] != firsts[1][:3]
    for name in ("one", "two"):
        rows = list(csv.DictReader((tmp_path / name / "trials.csv").read_text().splitlines()))
        known = {int(row["trial"]): row["key"] for row in rows}
        assert len(known) == len(rows) >= 30
        assert all(trials[number].user_attrs["key"] == key for number, key in known.items())
        assert (tmp_path / name / "winners/tiny.yaml").exists()
        assert database.password not in "".join(
            path.read_text() for path in (tmp_path / name).rglob("*") if path.is_file()
        )


def kill_at_random(database: Postgres, folder: Path, n_kills: int) -> int:
    """Kill two commands that share a study, and the database, at random; return the trials."""
    draw = random.Random(7)

    def begin(name: str, n_trials: int = 10**6) -> subprocess.Popen[str]:
        words = [str(TESTS / "shared_search.py"), str(folder / name)]
        return start(TESTS, [*words, database.address, str(n_trials)], database)

    running = {name: begin(name) for name in ("one", "two")}
    for number in range(n_kills):
        wait_for_more(folder, draw.randint(1, 12))
        time.sleep(draw.uniform(0.0, 0.3))
        what = ("command", "backend", "command", "server")[number % 4]
        if what == "server":
            database.kill()
            time.sleep(draw.uniform(0.0, 2.0))
            database.start()
        elif what == "backend":
            database.kill_a_backend()
        else:
            process = running[draw.choice(sorted(running))]
            process.kill()
            process.wait()
        # One may also have ended by itself, as it started just while the server was away.
        for name in [name for name in running if running[name].poll() is not None]:
            end(running[name])
            running[name] = begin(name)
    for process in running.values():
        end(process)
    n_trials = len(stored(database)) + 10
    for name in running:
        printed, _ = begin(name, n_trials).communicate(timeout=400)
        assert "Traceback" not in printed
        kept = journalled(folder / name)
        assert len(set(kept)) == len(kept)
    trials = stored(database)
    ids = [one.user_attrs["id"] for one in trials]
    every = [*journalled(folder / "one"), *journalled(folder / "two")]
    assert sorted(ids) == sorted(every)  # none lost, none twice
    assert [one.number for one in trials] == list(range(len(ids)))
    assert {one.state for one in trials} == {TrialState.COMPLETE}
    return len(ids)


def n_journalled(folder: Path) -> int:
    return sum(path.read_bytes().count(b'"op_code":4') for path in folder.glob("*/study.journal"))


def wait_for_more(folder: Path, n_trials: int) -> None:
    """Wait until the commands have finished so many more trials."""
    before, deadline = n_journalled(folder), time.monotonic() + 120
    while n_journalled(folder) < before + n_trials:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    printed, _ = process.communicate()
    assert "Traceback" not in printed or "cannot be used" in printed


@pytest.mark.long
def test_kills_lose_and_repeat_nothing(database: Postgres, tmp_path: Path) -> None:
    kill_at_random(database, tmp_path, 4)


@pytest.mark.long
def test_a_hundred_kills_lose_and_repeat_nothing(database: Postgres, tmp_path: Path) -> None:
    n_trials = kill_at_random(database, tmp_path, 100)
    print(f"100 kills, {n_trials} trials: none lost, none twice")


@pytest.mark.parametrize(
    ("place", "password", "words"),
    [
        ("nas@127.0.0.1:{port}/nas", "wrong", ["password authentication failed", "~/.pgpass"]),
        ("nas@127.0.0.1:{port}/nas", "", ["no password supplied", "PGPASSWORD"]),
        ("nas@127.0.0.1:{port}/other", None, ['"other" does not exist', "CREATE DATABASE other"]),
        ("guest@127.0.0.1:{port}/nas", None, ["permission denied", "GRANT ALL", "TO guest"]),
    ],
)
def test_a_login_that_fails_says_why(
    database: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    password: str | None,
    words: list[str],
) -> None:
    database.sql("DROP ROLE IF EXISTS guest")
    database.sql(f"CREATE ROLE guest LOGIN PASSWORD '{database.password}'")
    if password is not None:
        monkeypatch.setenv("PGPASSWORD", password)
    begun = time.monotonic()
    with pytest.raises(NasError) as raised:
        connect(f"postgresql://{place.format(port=database.port)}")
    assert time.monotonic() - begun < 5
    for word in words:
        assert word in str(raised.value)


def test_a_database_of_plain_bytes_is_read_as_text(database: Postgres) -> None:
    database.sql("DROP DATABASE IF EXISTS bytes", database="postgres")
    database.sql(
        "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0", database="postgres"
    )
    connect(database.address.removesuffix("nas") + "bytes").close()


def test_tables_that_are_not_optunas_are_told(database: Postgres) -> None:
    database.sql("CREATE TABLE version_info (id int); CREATE TABLE studies (name text)")
    with pytest.raises(NasError, match=r"cannot be used: .*does not exist"):
        connect(database.address)


def test_tables_of_another_version_are_told(database: Postgres) -> None:
    connect(database.address).close()
    database.sql("UPDATE alembic_version SET version_num = 'v1.3.0.a'")
    with pytest.raises(NasError, match=r"compatible with the table schema.*optuna storage upgrade"):
        connect(database.address)


@pytest.mark.long
def test_a_server_that_stays_away_ends_the_search(database: Postgres, tmp_path: Path) -> None:
    words = [*TINY, "n_trials=500", f"storage={database.address}", "storage_wait_s=1"]
    process = start(tmp_path, ["-m", "nas.search", *words, "hydra.run.dir=run"], database)
    journal = tmp_path / "run/study.journal"
    while not (journal.exists() and journal.read_bytes().count(b'"op_code":4') > 10):
        assert process.poll() is None
        time.sleep(0.1)
    database.kill()
    try:
        printed, _ = process.communicate(timeout=120)
    finally:
        database.start()
    assert process.returncode == 2
    said = " ".join(printed.split())
    assert "is away" in said
    assert "was away for 1 s" in said
    assert "/run to go on" in said
    assert "Traceback" not in said
    assert (tmp_path / "run/winners/tiny.yaml").exists()


def fill(address: str, folder: Path) -> None:
    """Add trials in this process, as a command would."""
    folder.mkdir()
    connection = connect(address)
    journal = Journal(folder / "study.journal")
    shared = SharedStudies(connection, journal, name="mine", identity={}, run="one")
    shared.trials("tiny", ["maximize"])
    for number in range(N_FILLED):
        shared.add("tiny", trial(number), {"key": f"net{number}"}, datetime.now(UTC))
    shared.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.long
def test_the_dashboard_opens_database_and_journal(database: Postgres, tmp_path: Path) -> None:
    fill(database.address, tmp_path / "one")
    for storage, study in (
        (database.address.replace("postgresql", "postgresql+psycopg"), "mine-tiny"),
        (str(tmp_path / "one/study.journal"), "tiny"),
    ):
        port = free_port()
        code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
        options = ["--host", "127.0.0.1", "--port", str(port)]
        served = start(tmp_path, ["-c", code, storage, *options], database)
        try:
            (found,) = fetch(f"http://127.0.0.1:{port}/api/studies", served)["study_summaries"]
            assert found["study_name"] == study
            url = f"http://127.0.0.1:{port}/api/studies/{found['study_id']}"
            assert len(fetch(url, served)["trials"]) == N_FILLED
        finally:
            served.send_signal(signal.SIGKILL)
            served.communicate()


def fetch(url: str, served: subprocess.Popen[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                content: dict[str, Any] = json.load(answer)
                return content
        except OSError:
            assert served.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.long
def test_the_proxy_of_optuna_serves_commands(database: Postgres, tmp_path: Path) -> None:
    port = free_port()
    code = (
        "import sys; from optuna.storages import RDBStorage, run_grpc_proxy_server as run\n"
        "run(RDBStorage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    address = database.address.replace("postgresql", "postgresql+psycopg")
    served = start(tmp_path, ["-c", code, address, str(port)], database)
    try:
        while True:
            try:
                connect(f"grpc://127.0.0.1:{port}").close()
                break
            except NasError:
                assert served.poll() is None
        fill(f"grpc://127.0.0.1:{port}", tmp_path / "one")
    finally:
        served.send_signal(signal.SIGKILL)
        served.communicate()
    assert [one.user_attrs["id"] for one in stored(database)] == journalled(tmp_path / "one")
    assert len(stored(database)) == N_FILLED
