"""A PostgreSQL of Debian's for the tests: on the loopback, in a folder of its own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
LOGIN: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
"""The server refuses to run as root."""
needs_postgresql = pytest.mark.skipif(
    not FOUND, reason="needs PostgreSQL: apt-get install postgresql"
)


class Postgres:
    """A server that can be killed and started again; its user `nas` owns the database `nas`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nas-postgresql-"))
        self.password = secrets.token_hex(8)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        file = self.folder / "password"
        file.write_text(self.password)
        if LOGIN:
            for path in (self.folder, file):
                shutil.chown(path, **LOGIN)
        words = [
            "-A",
            "scram-sha-256",
            "-U",
            "nas",
            "--pwfile",
            str(file),
            "--locale=C",
            "-E",
            "UTF8",
        ]
        self._run("initdb", "-D", str(self._data), "--no-sync", *words)
        self._server: subprocess.Popen[bytes] | None = None
        self.start()
        self.sql("CREATE DATABASE nas", database="postgres")

    @property
    def address(self) -> str:
        """Return the address, without the password."""
        return f"postgresql://nas@127.0.0.1:{self.port}/nas"

    def environment(self) -> dict[str, str]:
        """Return the environment in which libpq finds the password."""
        return {**os.environ, "PGPASSWORD": self.password}

    def start(self) -> None:
        """Start the server; after a kill its old processes take a moment to go."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            options = ("fsync=off", "listen_addresses=127.0.0.1")
            self._server = subprocess.Popen(
                [
                    str(FOUND[-1].with_name("postgres")),
                    *("-D", str(self._data), "-p", str(self.port), "-k", str(self.folder)),
                    *(word for option in options for word in ("-c", option)),
                ],
                stderr=subprocess.DEVNULL,
                **LOGIN,
            )
            while self._server.poll() is None:
                if self._is_ready():
                    return
                time.sleep(0.05)
            time.sleep(0.2)
        raise TimeoutError("PostgreSQL does not start")

    def kill(self) -> None:
        """Kill the server as a loss of power would."""
        self._end(signal.SIGKILL)

    def kill_a_backend(self) -> None:
        """Kill the process that serves one connection; the server ends all others and recovers."""
        found = self.sql("SELECT pid FROM pg_stat_activity WHERE datname='nas' ORDER BY random()")
        own = [int(line) for line in found.split()]
        with suppress(ProcessLookupError):  # it has just ended
            for pid in own[:1]:
                os.kill(pid, signal.SIGKILL)

    def sql(self, statement: str, database: str = "nas") -> str:
        """Return what psql prints."""
        return self._run(
            *("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "nas", "-Atc", statement),
            database,
        )

    def close(self) -> None:
        """Stop the server and drop its folder."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _is_ready(self) -> bool:
        words = ["-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run([FOUND[-1].with_name("pg_isready"), *words]).returncode == 0

    def _end(self, how: signal.Signals) -> None:
        if self._server:
            self._server.send_signal(how)
            self._server.wait(30)
            self._server = None

    def _run(self, program: str, *words: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(FOUND[-1].with_name(program)), *words],
            capture_output=True,
            text=True,
            env=self.environment(),
            **LOGIN,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")
        return done.stdout
