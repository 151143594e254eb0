"""The folder on a phone that holds models and the program that runs them."""

import hashlib
import re
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

from nas.errors import NasError, shown
from nas.latency.devices.adb_shell import Adb, PhoneCommandError
from nas.latency.devices.model_files import model_bytes, model_files
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR
from nas.steps import OnStep

# Reading a gigabyte of models takes a slow phone minutes.
DIGESTS_S = 600.0
EXAMPLE = "hardware.connection.benchmark_model=downloads/android_aarch64_benchmark_model"


class PhoneFolder:
    """Files named by their SHA-256; what is there whole is not copied again."""

    def __init__(self, adb: Adb, folder: str, program: str) -> None:
        self._adb, self.path, self._program = adb, folder, program
        self._source = Path(program).expanduser()

    def program_digest(self) -> str:
        """Return the SHA-256 of benchmark_model, here or there.

        Raises:
            NasError: it is neither here nor there.
        """
        if self._source.is_file():
            return _digest(self._source)
        try:
            said = self._adb.shell(f"sha256sum {shlex.quote(self._program)}")
        except PhoneCommandError as error:
            raise NasError(
                f"hardware.connection.benchmark_model must be a file here or on "
                f"{self._adb.name}, but {self._program} is neither. Set it: {EXAMPLE}"
            ) from error
        digest = said.partition(" ")[0]
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise NasError(
                f"{self._adb.name} must tell the SHA-256 of {self._program}, but says "
                f"{shown(digest)}. Set a file here: {EXAMPLE}"
            )
        return digest

    def program(self) -> str:
        """Return where benchmark_model is on the phone; a file here is copied there."""
        digest = self.program_digest()
        if not self._source.is_file():
            return self._program
        target = f"{self.path}/benchmark_model-{digest[:16]}"
        if self._digests().get(target) != digest:
            self._push(self._source, target, digest)
        self._adb.shell(f"chmod 755 {shlex.quote(target)}")
        return target

    def graphs(self, job: Job, on_step: OnStep) -> dict[str, str]:
        """Copy the models that the phone lacks, and return where all are by name, the anchor too.

        Raises:
            NasError: the phone has no room, was lost, or has another content than was sent.
        """
        files = model_files(job)
        paths = {digest: f"{self.path}/{digest}.tflite" for digest in files.files}
        there = self._digests()
        missing = [digest for digest, path in paths.items() if there.get(path) != digest]
        with TemporaryDirectory() as folder:
            draft = Path(folder) / "model.tflite"
            for number, digest in enumerate(missing, start=1):
                draft.write_bytes(model_bytes(files.files[digest]))
                self._push(draft, paths[digest], digest)
                on_step("copying", number, len(missing))
        graphs = {name: paths[digest] for name, digest in files.digests.items()}
        return graphs | {ANCHOR: paths[files.anchor]}

    def _digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its path."""
        folder = shlex.quote(self.path)
        script = f"mkdir -p {folder} && {{ sha256sum {folder}/* 2>/dev/null || true; }}"
        pairs = [line.split(maxsplit=1) for line in self._adb.shell(script, DIGESTS_S).splitlines()]
        return {pair[1].strip(): pair[0] for pair in pairs if len(pair) == 2}

    def _push(self, source: Path, target: str, digest: str) -> None:
        """Copy a file, and give it its name when it has arrived whole."""
        draft = f"{self.path}/draft"
        self._adb.push(source, draft)
        arrived = self._adb.shell(f"sha256sum {shlex.quote(draft)}", DIGESTS_S).partition(" ")[0]
        if arrived != digest:
            raise NasError(
                f"a file must arrive on {self._adb.name} as it was sent, but has another content "
                "there. Try another cable; the same command goes on."
            )
        self._adb.shell(f"mv {shlex.quote(draft)} {shlex.quote(target)}")


def _digest(path: Path) -> str:
    return hashlib.sha256(model_bytes(path)).hexdigest()
