"""Studies that commands share: SQLite is the database here, and Optuna's own reader the truth."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import exc
from test_journal import DISTRIBUTIONS
from test_study import SPACE, TABLE, CountingProxy, evolution

from nas.errors import NasError
from nas.objective import Reward
from nas.search.connection import Connection, connect
from nas.search.identity import digest, shared_identity
from nas.search.journal import Journal
from nas.search.passwords import PASSWORD, hidden, without_passwords
from nas.search.records import Target
from nas.search.shared import SharedStudies
from nas.search.study import TargetSearch

IDENTITY = {"table_hash": "a1", "proxy": {"risk": 0.25}}
AWAY = StorageInternalError()
AWAY.__cause__ = exc.OperationalError("INSERT", {}, Exception("server closed the connection"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with Optuna's tables, which take half a second to make."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    connect(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def share(tmp_path: Path, empty: Path) -> Iterator[Callable[..., SharedStudies]]:
    """Return what opens the shared studies as the command of a run folder does."""
    opened: list[SharedStudies] = []
    shutil.copy(empty, tmp_path / "shared.db")

    def start(run: str, **options: Any) -> SharedStudies:
        (tmp_path / run).mkdir(exist_ok=True)
        settings: dict[str, Any] = {"name": "mine", "identity": IDENTITY, "wait_s": 0.0} | options
        shared = SharedStudies(
            connect(f"sqlite:///{tmp_path}/shared.db"),
            Journal(tmp_path / run / "study.journal"),
            run=run,
            **settings,
        )
        opened.append(shared)
        return shared

    yield start
    for shared in opened:
        shared.close()


@pytest.fixture(autouse=True)
def no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the passwords of whoever tests out of it, and those of a test in it."""
    for name in (PASSWORD, "PGPASSWORD"):
        monkeypatch.setenv(name, "")


def search(storage: SharedStudies, n_trials: int, seed: int, proxy: CountingProxy) -> TargetSearch:
    return TargetSearch(
        target=Target(
            name="tiny", space=SPACE, target_ms=3.0, objective=Reward(), n_trials=n_trials
        ),
        table=TABLE,
        proxy=proxy,
        storage=storage,
        make_sampler=lambda n_stored: evolution(seed + n_stored),
        sampler_name="regularized_evolution",
    )


def trial(number: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return create_trial(
        state=state,
        values=[float(number)],
        params={"kernel": 3, "act": "relu"},
        distributions=DISTRIBUTIONS,
        intermediate_values={1: 0.5} if state == TrialState.PRUNED else None,
        constraints={"target_ms": number - 1.0},
    )


def add(storage: SharedStudies, number: int) -> int:
    return storage.add("tiny", trial(number), {"key": f"net{number}"}, datetime.now(UTC))


def by_optuna(folder: Path, name: str = "mine-tiny") -> Study:
    return optuna.load_study(storage=f"sqlite:///{folder}/shared.db", study_name=name)


def keys(folder: Path) -> list[str]:
    return [str(one.user_attrs["key"]) for one in by_optuna(folder).trials]


@pytest.mark.slow
def test_two_searches_fill_one_study(share: Callable[..., SharedStudies], tmp_path: Path) -> None:
    proxies = [CountingProxy(), CountingProxy()]
    searches = [search(share(f"run{i}"), 10, 100 * i, proxies[i]) for i in range(2)]
    for _ in zip_longest(*(one.run() for one in searches)):
        pass
    stored = by_optuna(tmp_path).trials
    assert 10 <= len(stored) <= 11  # the other may begin its last while this one ends
    assert [one.number for one in stored] == list(range(len(stored)))
    for one in searches:
        assert {finished.number for finished in one.finished} >= set(range(10))
        assert len({finished.number for finished in one.finished}) == len(one.finished)
        for finished in one.finished:
            assert dict(stored[finished.number].params) == finished.choices
            assert stored[finished.number].values == list(finished.values)
    own = Counter(str(one.user_attrs["id"]).partition("-")[0] for one in stored)
    assert own.keys() == {"run0", "run1"}
    assert min(own.values()) >= 3
    # What the other command has judged is not judged again.
    assert not set(proxies[0].asked[1:]) & set(proxies[1].asked[1:])


def test_a_record_is_stored_as_optuna_would_have(
    share: Callable[..., SharedStudies], tmp_path: Path
) -> None:
    storage = share("run")
    storage.trials("tiny", ["maximize"])
    written = [trial(0), trial(1, TrialState.PRUNED), trial(2)]
    started = datetime.now(UTC)
    numbers = [storage.add("tiny", one, {"key": "net", "ms": 1.5}, started) for one in written]
    assert numbers == [0, 1, 2]
    theirs = optuna.create_study(direction="maximize")
    theirs.add_trials(written)
    for ours, other in zip(by_optuna(tmp_path).trials, theirs.trials, strict=True):
        assert (ours.state, ours.values, ours.params) == (other.state, other.values, other.params)
        assert ours.constraints == other.constraints
        assert ours.intermediate_values == other.intermediate_values
        assert ours.user_attrs == {"key": "net", "ms": 1.5, "id": f"run-{ours.number}"}
        assert ours.datetime_start == started.astimezone().replace(tzinfo=None)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_lost_answer_neither_loses_nor_repeats_the_trial(
    share: Callable[..., SharedStudies],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,
) -> None:
    said: list[str] = []
    storage = share("run", wait_s=30.0, say=said.append)
    storage.trials("tiny", ["maximize"])
    add(storage, 0)
    write, failures = Study.add_trial, [AWAY, AWAY]

    def failing(study: Study, one: FrozenTrial) -> None:
        if is_written and len(failures) == 2:
            write(study, one)
        if failures:
            raise failures.pop()
        write(study, one)

    monkeypatch.setattr(Study, "add_trial", failing)
    monkeypatch.setattr("nas.search.connection.PAUSES_S", (0.01,))
    assert add(storage, 1) == 1
    assert add(storage, 2) == 2
    assert keys(tmp_path) == ["net0", "net1", "net2"]
    assert "server closed the connection" in said[0]
    assert said[-1].endswith("is back")


def test_an_outage_that_lasts_ends_and_the_trial_is_written_later(
    share: Callable[..., SharedStudies], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = share("run")
    storage.trials("tiny", ["maximize"])
    add(storage, 0)

    def away(study: Study, one: FrozenTrial) -> None:
        raise AWAY

    with monkeypatch.context() as patch:
        patch.setattr(Study, "add_trial", away)
        with pytest.raises(NasError, match=r"was away for 0 s.*closed.*hydra\.run\.dir=.*/run to"):
            add(storage, 1)
    storage.close()
    other = share("other")
    other.trials("tiny", ["maximize"])
    assert add(other, 2) == 1
    again = share("run")
    found = again.trials("tiny", ["maximize"])
    assert [one.user_attrs["key"] for one in found] == ["net0", "net2", "net1"]
    assert add(again, 3) == 3
    add(other, 4)
    assert [one.user_attrs["key"] for one in other.news("tiny")] == ["net1", "net3"]
    assert other.news("tiny") == []
    assert keys(tmp_path) == ["net0", "net2", "net1", "net3", "net4"]


def test_what_the_storage_refuses_is_not_tried_again(
    share: Callable[..., SharedStudies], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = share("run", wait_s=1000.0)
    storage.trials("tiny", ["maximize"])
    add(storage, 0)
    refused = StorageInternalError()
    refused.__cause__ = exc.DataError("INSERT", {}, Exception("value too long\nfor column"))

    def refuse(study: Study, one: FrozenTrial) -> None:
        raise refused

    monkeypatch.setattr(Study, "add_trial", refuse)
    with pytest.raises(NasError, match=r"shared\.db fails: value too long\. What has finished"):
        add(storage, 1)


def test_a_study_that_somebody_deletes_is_told(
    share: Callable[..., SharedStudies], tmp_path: Path
) -> None:
    storage = share("run", wait_s=1000.0)
    storage.trials("tiny", ["maximize"])
    optuna.delete_study(storage=f"sqlite:///{tmp_path}/shared.db", study_name="mine-tiny")
    with pytest.raises(NasError, match=r"shared\.db fails: .*What has finished is kept"):
        add(storage, 0)


def test_a_trial_that_is_there_twice_counts_once(
    share: Callable[..., SharedStudies], tmp_path: Path
) -> None:
    storage = share("run")
    storage.trials("tiny", ["maximize"])
    add(storage, 0)
    by_optuna(tmp_path).add_trial(by_optuna(tmp_path).trials[0])
    again = share("other")
    assert len(again.trials("tiny", ["maximize"])) == 1


def test_the_study_of_another_search_is_refused(
    share: Callable[..., SharedStudies], tmp_path: Path
) -> None:
    share("run").trials("tiny", ["maximize"])
    share("same").trials("tiny", ["maximize"])
    other = share("other", identity=IDENTITY | {"table_hash": "b2"})
    for _ in range(2):
        with pytest.raises(NasError, match=r"with table_hash a1, not b2.*another study="):
            other.trials("tiny", ["maximize"])
    with pytest.raises(NasError, match="is to maximize, not to maximize, minimize"):
        share("third").trials("tiny", ["maximize", "minimize"])
    foreign = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/shared.db", study_name="theirs-tiny", direction="maximize"
    )
    foreign.add_trial(trial(0))
    with pytest.raises(NasError, match=r"theirs-tiny was not made by nas\.search"):
        share("fourth", name="theirs").trials("tiny", ["maximize"])


def test_commands_share_what_makes_trials_alike_alone() -> None:
    own = {"seed": 0, "sampler": {"a": 1}, "table": "x.csv", "data": "d1", "study": "mine"}
    identity = own | {"table_hash": "a1", "proxy": {"risk": 0.25, "folder": "here", "threads": 1}}
    elsewhere = identity | {
        "seed": 1,
        "table": "/y.csv",
        "proxy": {"risk": 0.25, "folder": "there", "threads": 4},
    }
    assert shared_identity(identity) == shared_identity(elsewhere)
    assert digest(shared_identity(identity)) == digest(shared_identity(elsewhere))
    for change in ({"data": "d2"}, {"table_hash": "b2"}, {"proxy": {"risk": 0.5}}):
        assert shared_identity(identity | change) != shared_identity(identity)


@pytest.mark.parametrize(
    ("word", "left", "password"),
    [
        ("storage=postgresql://me:se%40cret@host/db", "storage=postgresql://me@host/db", "se@cret"),
        ("+storage='mysql+pymysql://me:s@t@host:3306/db?a=b'", None, "s@t"),
        ("storage=postgresql://:only@host/db", "storage=postgresql://@host/db", "only"),
    ],
)
def test_a_password_on_the_command_line_goes_into_the_environment(
    word: str, left: str | None, password: str
) -> None:
    kept = without_passwords(["n_trials=5", word])
    assert os.environ[PASSWORD] == password
    assert kept[0] == "n_trials=5"
    assert kept[1] == (left or "+storage='mysql+pymysql://me@host:3306/db?a=b'")


@pytest.mark.parametrize(
    "word",
    [
        "storage=postgresql://me@host:5432/db",
        "storage=sqlite:////a/b:c@d.db",
        "storage=grpc://localhost:13000",
        "study=a:b@c",
    ],
)
def test_an_address_without_a_password_stays(word: str) -> None:
    assert without_passwords([word]) == [word]
    assert os.environ[PASSWORD] == ""


def test_what_is_shown_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "topsecret")
    shown = hidden("x://me:abc@host/db?password=def&a=1 'topsecret' fails")
    assert shown == "x://me:***@host/db?password=***&a=1 '***' fails"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("here", ["storage must be postgresql://", "'here'"]),
        ("oracle://me@host/db", ["storage must be postgresql://", "oracle://me@host/db"]),
        ("postgresql://me:pass@host/db", ["must hold no password", "me:***@host", "~/.pgpass"]),
        ("mysql://me@host/db?password=pass", ["must hold no password", PASSWORD]),
        ("grpc://host", ["grpc://host:port", "grpc://host."]),
        ("grpc://127.0.0.1:9", ["grpc://127.0.0.1:9 cannot be used", "gRPC proxy"]),
        ("sqlite:////nowhere/x.db", ["cannot be used: unable to open", "Check the address"]),
        ("postgresql://127.0.0.1:9/db", ["cannot be used", "refused", "that the server runs"]),
        ("postgresql://127.0.0.1:port/db", ["storage must be postgresql://"]),
    ],
)
def test_a_wrong_address_is_told_at_once(
    address: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.search.connection.CONNECT_S", 0.3)
    with pytest.raises(NasError) as raised:
        connect(address)
    for word in words:
        assert word in str(raised.value)
    assert "pass@" not in str(raised.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database" * 100)
    with pytest.raises(NasError, match=r"x\.db cannot be used: file is not a database"):
        connect(f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize(
    ("address", "package"),
    [("postgresql://h/d", "psycopg"), ("mysql://h/d", "pymysql"), ("grpc://h:1", "grpc")],
)
def test_a_missing_driver_names_its_extra(
    address: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    extra = address.partition(":")[0]
    with pytest.raises(NasError, match=rf'needs the package {package}.*"nas-cpu\[{extra}\]"'):
        connect(address)


def test_a_password_may_hold_any_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def record(url: str, **options: Any) -> Connection:
        made.append(url.format(SCHEMA_VERSION=1))  # as Optuna does
        raise exc.OperationalError("connect", {}, Exception("x"))

    monkeypatch.setattr("nas.search.connection.RDBStorage", record)
    monkeypatch.setenv(PASSWORD, "a{b}@/:%c")
    with pytest.raises(NasError) as raised:
        connect("postgresql://me@host/db")
    assert made == ["postgresql+psycopg://me:a%7Bb%7D%40%2F%3A%25c@host/db"]
    assert "a{b}" not in str(raised.value)
