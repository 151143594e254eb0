"""Commands on another machine through the system's ssh, with its user's own settings.

Programs here are started by lists of words. What the other side's shell reads is quoted.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

from nas.errors import NasError, shown
from nas.latency.devices.contract import LostDeviceError
from nas.latency.runner.replies import parse_reply
from nas.text import printable

# A host also ends up in commands of the user's own ssh settings (ProxyCommand), unquoted.
_HOST = re.compile(r"((?!-)[\w.+%~-]+@)?(?!-)[\w.:%\[\]-]+")
_SSH_FAILED = 255
MAX_LINE_BYTES = 2**20
MAX_REPLIES = 10_000
_NOT_FOUND = 127
SET_HOST = "hardware.connection.host=pi@raspberrypi.local"


class UnreachableError(LostDeviceError):
    """Report that the connection failed or broke, not what was done over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteShell:
    """A machine by its name for ssh; None leaves a setting to the user's own ssh files."""

    host: str
    port: int | None = None
    identity_file: str | None = None
    config_file: str | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.host, str) or not _HOST.fullmatch(self.host):
            raise NasError(
                "hardware.connection.host must be a name or user@name of letters, digits and "
                f". _ - : but is {shown(self.host)}. Set it: {SET_HOST}"
            )

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line that runs `words` over there, each one as it is."""
        line = ["ssh", "-T"]
        if self.config_file is not None:
            line += ["-F", self.config_file]
        if self.port is not None:
            line += ["-p", str(self.port)]
        if self.identity_file is not None:
            line += ["-i", self.identity_file]
        # The first value of a setting counts, so the user's own come first.
        settings = (
            *self.options,
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
        )
        for setting in settings:
            line += ["-o", setting]
        return [*line, "--", self.host, shlex.join(words)]

    def ask(
        self, words: Sequence[str], write: Callable[[IO[bytes]], object] = lambda stream: None
    ) -> dict[str, Any]:
        """Return the last thing that a command says; `write` writes what it reads.

        Raises:
            UnreachableError: the connection failed or broke.
            NasError: the command said nothing.
        """
        with self.calling(words) as call:
            with suppress(BrokenPipeError):
                write(call.stdin)
                call.stdin.close()
            last = None
            for number, reply in enumerate(call.replies(), start=1):
                if number > MAX_REPLIES:
                    raise NasError(f"{self.host} must answer once, but goes on and on.")
                last = reply
            call.check(needs_reply=last is None)
        assert last is not None, "checked"
        return last

    @contextmanager
    def calling(self, words: Sequence[str]) -> Iterator["Call"]:
        """Run a command, and end it on leaving."""
        with TemporaryFile() as errors:
            process = _started(self.command(words), errors)
            try:
                yield Call(self, words, process, errors)
            finally:
                process.kill()
                for stream in (process.stdin, process.stdout):
                    # Closing writes what a broken pipe did not take.
                    with suppress(OSError):
                        if stream is not None:
                            stream.close()
                process.wait()


class Call:
    """A command that runs over there."""

    def __init__(
        self,
        shell: RemoteShell,
        words: Sequence[str],
        process: "subprocess.Popen[bytes]",
        errors: IO[bytes],
    ) -> None:
        self._shell, self._words, self._process, self._errors = shell, words, process, errors
        assert process.stdin is not None and process.stdout is not None
        self.stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout

    def replies(self) -> Iterator[dict[str, Any]]:
        """Yield what it says, until it says no more."""
        # A board that is broken, or not ours any more, may send lines without end.
        n_other = 0
        while line := self._stdout.readline(MAX_LINE_BYTES):
            content = parse_reply(line.decode(errors="replace").rstrip("\r\n"))
            if content is not None:
                yield content
                continue
            n_other += 1
            if n_other > MAX_REPLIES:
                raise NasError(
                    f"{self._shell.host} must answer, but prints other things without end: "
                    f"{shown(line[:40])}. See what it says: ssh {self._shell.host} true"
                )

    def check(self, *, needs_reply: bool) -> None:
        """Wait for its end, and say what went wrong when the connection broke, or it said nothing.

        Raises:
            UnreachableError: the connection failed or broke.
            NasError: it cannot run over there.
        """
        status = self._process.wait()
        if status == _SSH_FAILED or status < 0:
            raise UnreachableError(self._connection_trouble())
        if needs_reply:
            raise NasError(self._command_trouble(status))

    def _connection_trouble(self) -> str:
        host, reason = self._shell.host, self._last_error() or "the connection broke"
        advice = f"Check that it is on and in reach: ssh {host}"
        if "Host key verification" in reason or "host key" in reason.lower():
            advice = f"Look at its key once, and accept it if it is the board's own: ssh {host}"
        elif "Permission denied" in reason:
            advice = (
                f"It must let you in by a key, without a password: ssh-copy-id {host}, or name "
                "the key: hardware.connection.identity_file="
            )
        return f"{host} cannot be reached: {reason}. {advice}"

    def _command_trouble(self, status: int) -> str:
        host, program = self._shell.host, self._words[0]
        reason = self._last_error()
        if status == _NOT_FOUND or "not found" in reason:
            return (
                f"{host} has no program {program}. Install it there (Python 3.10 or newer), or "
                "say where it is: hardware.connection.python=venv/bin/python"
            )
        return (
            f"{program} on {host} must answer, but ended with status {status}: "
            f"{reason or 'no message'}. See what it says: ssh {host} {program} --version"
        )

    def _last_error(self) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - MAX_LINE_BYTES))
        lines = self._errors.read().decode(errors="replace").splitlines()
        return next((printable(line.strip()) for line in reversed(lines) if line.strip()), "")


def _started(line: Sequence[str], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    try:
        # In a session of its own, Ctrl-C reaches only this program, which then cleans up.
        return subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise NasError(
            "devices over ssh need the program ssh, which is not there. "
            "Install it: apt-get install openssh-client"
        ) from error
