"""The connection to a storage that commands share: errors in our words, patience with an outage."""

import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy import exc
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from nas.errors import NasError
from nas.extras import require
from nas.search.address import database_url, proxy_place
from nas.search.passwords import advice, hidden

CONNECT_S = 5
"""Seconds that a server may take to answer the first time."""
ATTEMPTS = 4
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
Result = TypeVar("Result")
_OPTIONS: dict[str, dict[str, Any]] = {
    # libpq gives up on a server that vanished after these seconds; by itself it waits for hours.
    "postgresql+psycopg": {
        "connect_timeout": CONNECT_S,
        "client_encoding": "utf8",  # an SQL_ASCII database answers in bytes otherwise
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    },
    "mysql+pymysql": {"connect_timeout": CONNECT_S, "read_timeout": 30, "write_timeout": 30},
    "sqlite": {"timeout": 30},
}
_ADVICE = (
    (r"password|authentication|access denied|role .* does not exist|pg_hba", "{password}"),
    (
        r"database .* does not exist|unknown database",
        "Make the database first: CREATE DATABASE {name}",
    ),
    (
        r"permission denied|read-?only",
        "Let the user make tables in it: GRANT ALL ON SCHEMA public TO {user}",
    ),
    (r"compatible|schema", "Upgrade it: optuna storage upgrade --storage {address}"),
    (r"already exists|no such column|does not exist", "Its tables are not Optuna's: take another."),
)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An open storage of Optuna's and the address to show of it, without a password.

    `is_passing` tells an outage from an error that stays.
    """

    storage: BaseStorage
    address: str
    failures: tuple[type[Exception], ...]
    is_passing: Callable[[Exception], bool]
    close: Callable[[], None]

    def patiently(
        self, task: Callable[[], Result], wait_s: float, say: Callable[[str], None]
    ) -> Result:
        """Return what the task returns, tried again for `wait_s` seconds while the storage is away.

        Raises:
            NasError: it stays away, or refuses what the task wants.
        """
        begun: float | None = None
        n_failed = 0
        while True:
            try:
                result = task()
            except self.failures as error:
                begun = time.monotonic() if begun is None else begun
                if not self.is_passing(error):
                    raise NasError(f"{self.address} fails: {reason(error)}.") from error
                left_s = begun + wait_s - time.monotonic()
                if left_s <= 0:
                    raise NasError(
                        f"{self.address} was away for {wait_s:g} s: {reason(error)}."
                    ) from error
                if not n_failed:
                    say(f"{self.address} is away ({reason(error)}): waiting up to {wait_s:g} s")
                time.sleep(min(left_s, PAUSES_S[min(n_failed, len(PAUSES_S) - 1)]))
                n_failed += 1
            else:
                if n_failed:
                    say(f"{self.address} is back")
                return result


def connect(address: str) -> Connection:
    """Open the storage at an address; it answers within seconds, or is an error.

    Raises:
        NasError: the address, the driver, the server, the login, the database or its tables are
            not what they should be.
    """
    if address.startswith("grpc:"):
        return _proxy(address)
    return _database(address)


def reason(error: BaseException) -> str:
    """Return the first line of what the database itself says, without passwords."""
    while isinstance(error, (StorageInternalError, exc.DBAPIError)):
        inner = error.orig if isinstance(error, exc.DBAPIError) else error.__cause__
        if inner is None:
            break
        error = inner
    details = getattr(error, "details", None)  # of gRPC
    text = str(details() if callable(details) else error) or type(error).__name__
    return hidden(" ".join(text.split("\n")[0].split()))[:300].rstrip(".")


def _database(address: str) -> Connection:
    url = database_url(address)
    address = hidden(address)
    options = {"connect_args": _OPTIONS.get(url.drivername, {}), "pool_pre_ping": True}
    # Optuna formats the address it is given, so braces are doubled.
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    storage = _opened(text, options, url, address)

    def close() -> None:
        storage.remove_session()
        storage.engine.dispose()

    return Connection(
        storage=storage,
        address=address,
        failures=(StorageInternalError, exc.SQLAlchemyError, KeyError),
        is_passing=_passes,
        close=close,
    )


def _opened(text: str, options: dict[str, Any], url: URL, address: str) -> RDBStorage:
    for left in reversed(range(ATTEMPTS)):
        try:
            # What fails leaves its connections to their pool, so the first has none.
            RDBStorage(text, engine_kwargs={**options, "poolclass": NullPool})
            return RDBStorage(
                text, options, skip_compatibility_check=True, skip_table_creation=True
            )
        except (StorageInternalError, exc.SQLAlchemyError, RuntimeError, ImportError) as error:
            # Two commands that start on an empty database both make its tables.
            if left and isinstance(error, (exc.IntegrityError, exc.ProgrammingError)):
                time.sleep(0.3)
                continue
            raise NasError(
                f"storage {address} cannot be used: {reason(error)}. {_advised(error, url)}"
            ) from error
    raise AssertionError("unreachable")


def _advised(error: Exception, url: URL) -> str:
    words = {
        "password": advice(url.get_backend_name()),
        "name": url.database,
        "user": url.username or "it",
        "address": hidden(str(url)),
    }
    for pattern, text in _ADVICE:
        if re.search(pattern, reason(error), re.IGNORECASE):
            return text.format(**words)
    return "Check the address, and that the server runs."


def _passes(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    stays = (exc.DataError, exc.ProgrammingError, exc.NotSupportedError)
    return not isinstance(cause, (*stays, KeyError))  # of a study that somebody has deleted


def _proxy(address: str) -> Connection:
    host, port = proxy_place(address)
    grpc = require("grpc", "grpc")
    require("google.protobuf", "grpc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = GrpcStorageProxy(host=host, port=port)
    try:
        storage.wait_server_ready(timeout=CONNECT_S)
        with suppress(KeyError):
            storage.get_study_id_from_name("")
    except (ConnectionError, grpc.RpcError) as error:
        storage.close()
        raise NasError(
            f"storage {address} cannot be used: {reason(error)}. Check the address, and that "
            "Optuna's gRPC proxy and its database run."
        ) from error
    passing = {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,  # what the proxy answers while its database is away
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    return Connection(
        storage=storage,
        address=address,
        failures=(grpc.RpcError, KeyError),
        is_passing=lambda error: getattr(error, "code", lambda: None)() in passing,
        close=storage.close,
    )
