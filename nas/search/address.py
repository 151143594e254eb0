"""The address of a storage that commands share: what it may be, and the driver that it needs."""

import os
import re

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from nas.errors import NasError, shown
from nas.extras import require
from nas.search.passwords import PASSWORD, advice, hidden

DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "sqlite": ""}
KNOWN = "postgresql://user@host/database, mysql://, sqlite:///file or grpc://host:port"


def database_url(address: str) -> URL:
    """Return a database's address with the driver to use, and the password of the environment.

    Raises:
        NasError: it is none of the known kinds, holds a password, or the driver is not installed.
    """
    url = _parsed(address)
    backend = url.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise NasError(f"storage must be {KNOWN}, but is {hidden(address)}. Correct it.")
    if url.password is not None or "password" in url.query:
        raise NasError(
            f"storage must hold no password, as it is written to files, but {hidden(address)} does."
            f" {advice(backend)}"
        )
    if url.drivername == backend and DRIVERS[backend]:
        require(DRIVERS[backend], backend)
        url = url.set(drivername=f"{backend}+{DRIVERS[backend]}")
    return url.set(password=os.environ.get(PASSWORD) or None)


def proxy_place(address: str) -> tuple[str, int]:
    """Return host and port of a gRPC proxy's address.

    Raises:
        NasError: it is not `grpc://host:port`.
    """
    found = re.fullmatch(r"grpc://([^:/@]+|\[[0-9a-fA-F:]+\]):(\d{1,5})/?", address)
    if not found:
        raise NasError(f"storage must be grpc://host:port, but is {hidden(address)}. Correct it.")
    return found[1], int(found[2])


def _parsed(address: str) -> URL:
    try:
        return make_url(address)
    except (ArgumentError, ValueError) as error:
        raise NasError(
            f"storage must be {KNOWN}, but is {shown(hidden(address))}. Correct it."
        ) from error
