"""The runner's commands on another machine, and what their trouble calls for."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import IO, Any

from nas.errors import NasError, shown
from nas.latency.devices.bundle import runner_archive
from nas.latency.devices.model_files import write_tar
from nas.latency.devices.remote_shell import RemoteShell
from nas.latency.runner.bench import Model
from nas.latency.runner.replies import CORRUPT, MARK, MISSING_PACKAGE, NO_ROOM, OTHER
from nas.latency.runner.sheet import Sheet
from nas.steps import OnStep
from nas.text import printable

MAX_WHOLE = 2**53

# Stores the archive that is piped in. Any Python understands it, to say of itself that it is old.
_INSTALL = """
import hashlib, json, os, sys
def say(**content):
    print("@MARK" + json.dumps(content))
    sys.exit(0)
if sys.version_info < (3, 10):
    say(kind="old_python", error="Python %d.%d" % sys.version_info[:2])
folder, name, digest = sys.argv[1:]
path = os.path.join(folder, name)
draft = path + ".%d.draft" % os.getpid()
try:
    os.makedirs(folder, exist_ok=True)
    content = sys.stdin.buffer.read()
    if hashlib.sha256(content).hexdigest() != digest:
        say(kind="corrupt", error="the runner arrived broken")
    with open(draft, "wb") as file:
        file.write(content)
    os.replace(draft, path)
except OSError as error:
    full = error.errno in (27, 28, 122)
    say(kind="no_room" if full else "other", error="%s: %s" % (type(error).__name__, error))
say(path=path)
""".replace("@MARK", MARK)


class Board:
    """A machine that the runner was copied to."""

    def __init__(self, shell: RemoteShell, python: str, folder: str) -> None:
        # ssh begins in the home folder; quoted, a shell would take the tilde for a name.
        self._shell = shell
        self._python = python.removeprefix("~/")
        self._folder = folder.removeprefix("~/") or "."
        archive = runner_archive()
        self._digest = sha256(archive).hexdigest()
        self._program = f"{self._folder.rstrip('/')}/runner-{self._digest[:16]}.pyz"

    @property
    def host(self) -> str:
        """Return its name for ssh."""
        return self._shell.host

    def install(self) -> None:
        """Copy the runner there.

        Raises:
            UnreachableError: the connection failed or broke.
            NasError: there is no Python of a version that will do, or no room.
        """
        name = self._program.rpartition("/")[2]
        words = [self._python, "-c", _INSTALL, self._folder, name, self._digest]
        self._checked(self._shell.ask(words, lambda stream: stream.write(runner_archive())))

    def facts(self, runtime: str, threads: int, cores: Sequence[int]) -> dict[str, Any]:
        """Return what the machine says of itself."""
        return self._ask("facts", "--runtime", runtime, *_held(threads, cores))

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Return the digests of the models that are not there yet."""
        content = self._ask("missing", content=_json(digests))
        missing = content.get("missing")
        if not isinstance(missing, list) or not all(isinstance(one, str) for one in missing):
            raise self._odd("missing", missing)
        return [digest for digest in digests if digest in set(missing)]

    def send(self, files: Mapping[str, Model], on_step: OnStep) -> None:
        """Copy models there."""

        def write(stream: IO[bytes]) -> None:
            write_tar(files, stream, on_step)

        self._checked(self._shell.ask(self._words("receive"), write))

    def start(self, sheet: Sheet) -> int:
        """Have the job measured, and return how many bytes of readings are there already."""
        content = self._ask("start", content=sheet.text().encode())
        return self.whole(content.get("n_bytes"), "n_bytes")

    def follow(self, sheet: Sheet, offset: int) -> Iterator[dict[str, Any]]:
        """Yield what the runner says of the job's readings from byte `offset` on.

        Raises:
            UnreachableError: the connection broke; whoever follows it again misses nothing.
        """
        held = _held(sheet.threads, sheet.cores)
        with self._shell.calling(self._words("follow", sheet.key, str(offset), *held)) as call:
            is_ended = False
            for content in call.replies():
                is_ended = "end" in content
                yield self._followed(self._checked(content))
            call.check(needs_reply=not is_ended)

    def _followed(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return what the runner says while it measures, when it is what it can say."""
        opened = content.get("opened", [0, 0])
        if not isinstance(opened, list) or len(opened) != 2:
            raise self._odd("opened", opened)
        for number in (*opened, content.get("n_bytes", 0)):
            self.whole(number, "number")
        if "line" in content and not (isinstance(content["line"], str) and "n_bytes" in content):
            raise self._odd("line", content["line"])
        if not isinstance(content.get("end", {}), dict):
            raise self._odd("end", content["end"])
        return content

    def whole(self, value: object, name: str) -> int:
        """Return a number of what the runner says.

        Raises:
            NasError: it is no whole number from 0 on.
        """
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_WHOLE:
            raise self._odd(name, value)
        return value

    def _odd(self, name: str, value: object) -> NasError:
        return NasError(
            f"the runner on {self.host} says an odd {name}: {shown(value)}. Install it anew: ssh "
            f"{self.host} rm -r {self._folder}"
        )

    def stop(self, sheet: Sheet) -> None:
        """Stop measuring, and keep the readings."""
        self._ask("stop", sheet.key)

    def finish(self, sheet: Sheet) -> None:
        """Stop measuring, and forget the readings."""
        self._ask("finish", sheet.key)

    def forget(self) -> None:
        """Stop measuring, and forget all readings of all jobs."""
        self._ask("forget")

    def advice(self, content: Mapping[str, Any]) -> str:
        """Return what to do about a trouble that the runner told."""
        host, kind = self.host, content.get("kind")
        if kind == NO_ROOM:
            return (
                f"Make room there; what earlier measuring left may go: ssh {host} rm -r "
                f"{self._folder}. Then the same command goes on."
            )
        if kind == MISSING_PACKAGE:
            package = printable(str(content.get("package") or "the package"))
            return f"Install it there: ssh {host} {self._python} -m pip install {package}"
        if kind == "old_python":
            return (
                "Python 3.10 or newer is needed there; say where it is: "
                "hardware.connection.python=venv/bin/python"
            )
        if kind == CORRUPT:
            return "The connection or the disk over there is broken; the same command tries again."
        return f"What it said last is on {host} in {self._folder}/log.txt"

    def _ask(self, *words: str, content: bytes = b"") -> dict[str, Any]:
        return self._checked(
            self._shell.ask(self._words(*words), lambda stream: stream.write(content))
        )

    def _words(self, *words: str) -> list[str]:
        return [self._python, self._program, *words]

    def _checked(self, content: dict[str, Any]) -> dict[str, Any]:
        if "error" not in content:
            return content
        kind = str(content.get("kind", OTHER))
        raise _TROUBLES.get(kind, NasError)(
            f"{self.host}: {printable(str(content['error']), 500)}. {self.advice(content)}"
        )


class CorruptError(NasError):
    """Report that something arrived other than it was sent."""


_TROUBLES: Mapping[str, type[NasError]] = {CORRUPT: CorruptError}


def _held(threads: int, cores: Sequence[int]) -> list[str]:
    words = ["--threads", str(threads)]
    return [*words, "--cores", ",".join(map(str, cores))] if cores else words


def _json(digests: Sequence[str]) -> bytes:
    return ("[" + ",".join(f'"{digest}"' for digest in digests) + "]").encode()
