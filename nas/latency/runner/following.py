"""Tell a caller of readings as they come, and how the worker ended."""

import json
import os
import sys
import time

from nas.latency.runner.folder import Folder
from nas.latency.runner.machine import fastest_cores
from nas.latency.runner.replies import KILLED, reply

POLL_S = 0.25
# A line now and then shows on both sides that the connection still stands.
BEAT_S = 3.0
CHUNK = 2**20


def follow(folder: Folder, key: str, offset: int, busy: tuple[int, ...]) -> None:
    """Say each whole line of the readings from byte `offset` on, until the worker ended."""
    _avoid(busy)
    told, spoke_s = "", time.monotonic()
    while True:
        # Asked before reading, so that the last lines of one that just ended are read.
        worker = folder.worker()
        is_running = worker is not None and worker.key == key
        progress = _text(folder, key)
        if progress != told and len(progress.split()) == 2:
            n_done, n_all = map(int, progress.split())
            reply({"opened": [n_done, n_all]})
            told = progress
        n_bytes = _tell_lines(folder, key, offset)
        offset += n_bytes
        if not is_running and not n_bytes:
            reply({"end": _end(folder, key)})
            return
        if n_bytes or time.monotonic() - spoke_s > BEAT_S:
            reply({})
            spoke_s = time.monotonic()
        if is_running:
            time.sleep(POLL_S)


def _tell_lines(folder: Folder, key: str, offset: int) -> int:
    """Say the whole lines of at most a chunk, and return how many bytes they have."""
    path = folder.readings(key)
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(CHUNK)
    content = content[: content.rfind(b"\n") + 1]
    for line in content.splitlines(keepends=True):
        reply({"line": line.decode(), "n_bytes": len(line)})
    return len(content)


def _end(folder: Folder, key: str) -> dict[str, str]:
    try:
        end: dict[str, str] = json.loads(folder.end(key).read_bytes())
    except (OSError, ValueError):
        return {"status": KILLED, "error": _last_line(folder)}
    return end


def _last_line(folder: Folder) -> str:
    try:
        lines = folder.log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _text(folder: Folder, key: str) -> str:
    try:
        return folder.progress(key).read_text(encoding="utf-8")
    except OSError:
        return ""


def _avoid(busy: tuple[int, ...]) -> None:
    """Keep off the cores that are timed on, where there are others."""
    if hasattr(os, "sched_setaffinity"):
        others = os.sched_getaffinity(0) - set(busy)
        os.sched_setaffinity(0, others or os.sched_getaffinity(0))


def busy_cores(threads: int, cores: tuple[int, ...]) -> tuple[int, ...]:
    """Return the cores that a job of so many threads is held on."""
    return cores or fastest_cores(threads)


def follow_quietly(folder: Folder, key: str, offset: int, busy: tuple[int, ...]) -> None:
    """Follow until nobody listens any more."""
    try:
        follow(folder, key, offset, busy)
    except BrokenPipeError:
        # The interpreter would complain once more when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
