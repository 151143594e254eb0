"""Model files that are slow to make, kept on disk and made in parallel.

A file lies in a folder named after what it was made of, under the digest of its own content: one
that is truncated or was edited is never taken for whole.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from nas.latency.runtimes.contract import Runtime

FORMAT = 1
"""Raised whenever the same versions of the packages come to make other files."""
MAX_BYTES = 8 * 2**30


class ModelCache:
    """Model files of earlier runs; a disk that is full or not writable only costs time."""

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder or default_folder()
        self._max_bytes = max_bytes

    def find(self, subject: str, runtime: Runtime) -> Path | None:
        """Return the whole file of a subject, if there is one."""
        try:
            for path in self._place(subject, runtime).glob(f"*{runtime.suffix}"):
                if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem:
                    os.utime(path)  # `trim` deletes what was used least recently.
                    return path
        except OSError:
            return None
        return None

    def store(self, subject: str, runtime: Runtime, content: bytes) -> Path | None:
        """Write a file, whole or not at all; return None where the disk does not take it."""
        place = self._place(subject, runtime)
        path = place / f"{hashlib.sha256(content).hexdigest()}{runtime.suffix}"
        draft = place / f".{os.getpid()}.draft"
        try:
            place.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            return None
        return path

    def trim(self) -> None:
        """Delete the files used least recently until the rest keeps to the limit."""
        with suppress(OSError):
            files = [(path.stat(), path) for path in self._folder.glob("*/*") if path.is_file()]
            size = sum(status.st_size for status, _ in files)
            for status, path in sorted(files, key=lambda file: file[0].st_mtime):
                if size <= self._max_bytes:
                    return
                path.unlink(missing_ok=True)
                size -= status.st_size

    def _place(self, subject: str, runtime: Runtime) -> Path:
        made_of = [FORMAT, subject, runtime.name, runtime.dtype, runtime.mode]
        text = json.dumps([*made_of, dict(runtime.versions)], sort_keys=True)
        return self._folder / hashlib.sha256(text.encode()).hexdigest()[:32]


def default_folder() -> Path:
    """Return `nas-cpu/models` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nas-cpu" / "models"
