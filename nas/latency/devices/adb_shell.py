"""A phone's shell and its files through `adb`, and what to do when the phone is lost."""

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Timer
from time import monotonic, sleep
from typing import TypeVar

from nas.errors import NasError
from nas.latency.devices.contract import LostDeviceError
from nas.steps import OnStep

T = TypeVar("T")
POLL_S = 2.0

MAX_BYTES = 16 * 2**20
"""Of what a command on the phone prints: `dumpsys` says some 10 kB."""
_STATUS = re.compile(r"^(.*?)@nas-status (\d{1,3})\s*$", re.DOTALL | re.ASCII)
_ADVICE = (
    (
        ("unauthorized", "authorizing"),
        "Unlock the phone and allow USB debugging from this computer.",
    ),
    (
        ("no permissions", "insufficient permissions"),
        "Let your user use the phone's USB device (udev rules: apt-get install "
        "android-sdk-platform-tools-common), then: adb kill-server",
    ),
    (("offline",), "Unplug the phone and plug it in again, or: adb reconnect"),
)
_PLUG_IN = "Plug it in, switch USB debugging on in its developer options, and see: adb devices"


class LostPhoneError(LostDeviceError):
    """Report that the phone does not answer, not what was done on it."""


class PhoneCommandError(NasError):
    """Report that a command on the phone failed; `output` is what it printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class Adb:
    """One phone. Its serial number, where several are attached, chooses it.

    A phone that is lost on the way is waited for `retry_s` long, which `on_step` hears of; what
    was under way is done again.
    """

    def __init__(self, program: str, serial: str | None, retry_s: float) -> None:
        self._program, self._serial, self._retry_s = program, serial, retry_s
        self.on_step: OnStep = lambda what, n_done, n_all: None

    @property
    def name(self) -> str:
        """Return what messages call the phone."""
        return f"phone {self._serial}" if self._serial else "the phone"

    def choose(self) -> None:
        """Settle on the one phone that is attached, or on the one asked for.

        Raises:
            LostPhoneError: it is not there, or not ready.
            NasError: several are, and none was asked for.
        """
        states = self.states()
        if self._serial is None:
            if len(states) > 1:
                raise NasError(
                    f"{len(states)} phones are attached, and one must be chosen: "
                    f"hardware.connection.serial={next(iter(states))}. "
                    f"Attached: {', '.join(states)}."
                )
            if not states:
                raise LostPhoneError(f"no phone is attached. {_PLUG_IN}")
            self._serial = next(iter(states))
        state = states.get(self._serial, "not attached")
        if state != "device":
            raise LostPhoneError(f"{self.name} is {state}. {_advice(state)}")

    def states(self) -> dict[str, str]:
        """Return the attached phones' states by serial number; `device` is ready."""
        done = self._run(["devices"], timeout_s=60)
        lines = done.stdout.splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith("List of")), -1)
        found = {}
        for line in lines[start + 1 :]:
            serial, _, state = line.strip().partition("\t")
            if serial and state:
                found[serial] = state.strip()
        return found

    def shell(self, script: str, timeout_s: float = 60.0) -> str:
        """Return what a script prints on the phone; whoever writes it quotes the words in it.

        Raises:
            LostPhoneError: the phone does not answer.
            PhoneCommandError: it ends with another status than 0.
        """
        return self._again(lambda: self._shell(script, timeout_s))

    def _shell(self, script: str, timeout_s: float) -> str:
        # Old phones do not hand the status on.
        line = f'( {script}\n) 2>&1; echo "@nas-status $?"'
        done = self._run([*self._chosen(), "shell", line], timeout_s)
        match = _STATUS.match(done.stdout)
        if match is None:
            raise self._lost(done)
        output = match[1].rstrip("\n")
        if int(match[2]):
            last = output.strip().rpartition("\n")[2].strip()
            raise PhoneCommandError(
                f"a command on {self.name} ended with status {match[2]}: {last[:200]}", output
            )
        return output

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone.

        Raises:
            LostPhoneError: the phone does not answer.
            NasError: it does not take the file.
        """
        self._again(lambda: self._push(source, target))

    def _push(self, source: Path, target: str) -> None:
        done = self._run([*self._chosen(), "push", str(source), target], timeout_s=600)
        if done.returncode == 0:
            return
        text = f"{done.stdout}\n{done.stderr}"
        if "No space left" in text:
            folder = target.rpartition("/")[0]
            raise NasError(
                f"{self.name} has no room in {folder}. Make room; what earlier measuring left "
                f"there may go: adb shell rm -r {folder}"
            )
        if "remote" in text or "Permission denied" in text:
            raise NasError(
                f"{self.name} does not take {target}: {_last_line(text)}. Name a folder that adb "
                "may write: hardware.connection.folder=/data/local/tmp/nas-cpu"
            )
        raise self._lost(done)

    def _again(self, action: Callable[[], T]) -> T:
        begin_s = monotonic()
        while True:
            try:
                return action()
            except LostPhoneError:
                waited_s = monotonic() - begin_s
                if waited_s > self._retry_s:
                    raise
                self.on_step("phone is away", round(waited_s), round(self._retry_s))
                sleep(POLL_S)

    def _chosen(self) -> list[str]:
        return ["-s", self._serial] if self._serial else []

    def _run(self, words: Sequence[str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
        line = [self._program, *words]
        try:
            return _run_within(line, timeout_s)
        except (FileNotFoundError, PermissionError) as error:
            raise NasError(
                f"devices over adb need the program {self._program}, which cannot be started: "
                f"{error.strerror}. Install Android's platform tools (apt-get install adb), or say "
                "where it is: hardware.connection.adb="
            ) from error
        except subprocess.TimeoutExpired as error:
            raise LostPhoneError(
                f"{self.name} has not answered for {timeout_s:.0f} s. {_PLUG_IN}"
            ) from error

    def _lost(self, done: "subprocess.CompletedProcess[str]") -> LostPhoneError:
        reason = _last_line(done.stderr) or "the connection broke"
        return LostPhoneError(f"{self.name} is lost: {reason}. {_advice(reason)}")


def _run_within(line: Sequence[str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run a command that may neither take longer, nor print more than `MAX_BYTES`."""
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert process.stdout is not None
        is_late = Event()

        def end() -> None:
            is_late.set()
            process.kill()

        alarm = Timer(timeout_s, end)
        alarm.start()
        try:
            output = process.stdout.read(MAX_BYTES + 1)
        except BaseException:
            process.kill()
            raise
        finally:
            alarm.cancel()
        if len(output) > MAX_BYTES:
            process.kill()
        status = process.wait(timeout_s)
        errors.seek(0)
        complaint = errors.read(MAX_BYTES)
    if is_late.is_set():
        raise subprocess.TimeoutExpired(list(line), timeout_s)
    if len(output) > MAX_BYTES:
        raise NasError(
            f"a phone must print at most {MAX_BYTES:,} bytes in answer, but printed more. See what "
            f"it says: {shlex.join(line)[:300]}"
        )
    said = (one.decode(errors="replace").replace("\r\n", "\n") for one in (output, complaint))
    return subprocess.CompletedProcess(list(line), status, *said)


def _advice(reason: str) -> str:
    for words, advice in _ADVICE:
        if any(word in reason for word in words):
            return advice
    return _PLUG_IN


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
