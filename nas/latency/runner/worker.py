"""The process on a device that measures a job by itself, whoever watches or not."""

import json
import signal
import subprocess
import time
import traceback
from contextlib import suppress
from pathlib import Path
from threading import Event

from nas.latency.runner.bench import time_models
from nas.latency.runner.folder import POLL_S, Folder, write_whole
from nas.latency.runner.replies import DONE, FAILED, STOPPED, trouble
from nas.latency.runner.sheet import Sheet, parse_reading, parse_sheet, reading_line
from nas.latency.runner.timing import ANCHOR, Reading

START_S = 30.0
PROGRESS_S = 0.5


def start(folder: Folder, sheet: Sheet, program: list[str]) -> dict[str, int | bool]:
    """See to it that a worker measures the job, and tell how much is kept of it already.

    A worker that measures all of it already goes on; any other one is stopped, for two would
    disturb each other. `program` is the command line of the runner.
    """
    key = sheet.key
    with folder.alone():
        worker = folder.worker()
        is_attached = worker is not None and worker.key == key and _covers(folder, key, sheet)
        if not is_attached:
            folder.stop_worker()
        kept = _whole(folder.readings(key))
        if not is_attached:
            # What `kill -9` or a power cut left of a line would swallow the next.
            write_whole(folder.readings(key), kept)
            write_whole(folder.job(key), sheet.text().encode())
            folder.end(key).unlink(missing_ok=True)
            folder.progress(key).unlink(missing_ok=True)
            _launch(folder, key, program)
        return {"attached": is_attached, "n_bytes": len(kept)}


def work(folder: Folder, key: str) -> None:
    """Measure what the job's readings lack, line by line, and say how it ended."""
    with folder.working(key):
        # An exception raised by the signal itself may fall into code that swallows it.
        is_stopped = Event()
        signal.signal(signal.SIGTERM, lambda number, frame: is_stopped.set())
        end = {"status": STOPPED}
        try:
            _measure(folder, key, is_stopped)
            end = {"status": STOPPED if is_stopped.is_set() else DONE}
        except _StoppedError:
            pass
        except Exception as error:
            traceback.print_exc()
            end = {"status": FAILED, **trouble(error)}
        finally:
            # On a full disk the readings that are kept matter more than why there are no more.
            with suppress(OSError):
                write_whole(folder.end(key), json.dumps(end).encode())


def kept_readings(path: Path) -> list[tuple[Reading, str]]:
    """Return the readings up to the first broken line, with the digests of their models."""
    return [parse_reading(line) for line in _whole(path).splitlines()]


def _measure(folder: Folder, key: str, is_stopped: Event) -> None:
    sheet, path = parse_sheet(folder.job(key).read_bytes()), folder.readings(key)
    kept = [reading for reading, digest in kept_readings(path) if sheet.holds(reading, digest)]
    done = sheet.done | {(reading.name, reading.round) for reading in kept}
    start_s = max([sheet.start_s, *(reading.at_s for reading in kept)])
    told_s = 0.0

    def on_open(n_done: int, n_all: int) -> None:
        nonlocal told_s
        if is_stopped.is_set():
            raise _StoppedError
        if n_done == n_all or time.monotonic() - told_s > PROGRESS_S:
            folder.progress(key).write_text(f"{n_done} {n_all}", encoding="utf-8")
            told_s = time.monotonic()

    job = sheet.job(folder.models)
    with path.open("a", encoding="utf-8", buffering=1) as file:
        for reading in time_models(job, done=done, start_s=start_s, on_open=on_open):
            is_anchor = reading.name == ANCHOR
            digest = sheet.anchor if is_anchor else sheet.models[reading.name]
            file.write(reading_line(reading, digest))
            if is_stopped.is_set():
                return


def _covers(folder: Folder, key: str, sheet: Sheet) -> bool:
    """Tell whether the job under way, with what is kept, makes all visits of the sheet."""
    under_way = parse_sheet(folder.job(key).read_bytes())
    kept = {
        (reading.name, digest, reading.round)
        for reading, digest in kept_readings(folder.readings(key))
    }
    return sheet.wanted <= under_way.wanted | kept


def _launch(folder: Folder, key: str, program: list[str]) -> None:
    """Start a worker in a session of its own, so that it outlives the connection."""
    with folder.log.open("wb") as log:
        process = subprocess.Popen(
            [*program, "--folder", str(folder.root), "work", key],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while folder.worker() is None and process.poll() is None and not folder.end(key).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker did not start in {START_S:.0f} s")
        time.sleep(POLL_S)


def _whole(path: Path) -> bytes:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    n_whole = 0
    for line in lines:
        try:
            parse_reading(line)
        except ValueError:
            break
        n_whole += line.endswith(b"\n")
    return b"".join(lines[:n_whole])


class _StoppedError(Exception):
    """Leave the opening of models."""
