"""Feed hostile files to everything that reads: `python benchmarks/fuzz.py --cases 100000`.

Each case is a good file with some bytes, words, lines or values changed (`tests/fuzz/hostile.py`),
given to one of the readers (`tests/fuzz/readers.py`). Only `NasError` may come out, within
`--seconds` of the processor's time and `--megabytes` above what the process had before. Whatever
else comes out is an escape: it is listed with the case that repeats it and a file that is as small
as could be found. The same seed gives the same cases, whatever the number of processes.
"""

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/fuzz")]
# Torch and BLAS read these when they are imported; an own cache is not filled with hostile images.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
CHUNK = 50
ASLEEP = 6
"""Times `--seconds` that a case may take by the clock."""
HUNG = 12
"""Times `--seconds` after which a process that does not answer any more is ended."""
SHRINK_SECONDS = 20.0
START_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Escape:
    """What came out of a reader that may not."""

    reader: str
    seed: int
    number: int
    what: str
    content: bytes


@dataclass(slots=True)
class Tally:
    """What became of a reader's cases."""

    n: int = 0
    n_read: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    megabytes: float = 0.0
    escapes: list[Escape] = field(default_factory=list)


class TooLongError(BaseException):
    """Say that a case took too long; no `except Exception` of a reader may swallow it."""


def main() -> int:
    """Run the cases and return how many escaped, at most 1 of each kind counted apart."""
    options = _options()
    console = Console(soft_wrap=True)
    from readers import every_reader

    readers = every_reader()
    names = options.reader or list(readers)
    unknown = [name for name in names if name not in readers]
    if unknown:
        console.print(f"unknown reader {unknown[0]!r}. Known: {', '.join(readers)}")
        return 2
    weights = {name: readers[name].weight for name in names}
    chunks = _chunks(weights, options.cases)
    n_cases = sum(len(numbers) for _, numbers in chunks)
    console.print(f"seed {options.seed}: {n_cases:,} cases for {len(names)} readers")
    begun = time.perf_counter()
    tallies = {name: Tally() for name in names}
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[escaped]} escaped, left"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("", total=n_cases, escaped=0)
        with suppress(KeyboardInterrupt):  # what was done until then is shown
            for name, tally in _run(chunks, options):
                _add(tallies[name], tally)
                escaped = sum(len(one.escapes) for one in tallies.values())
                progress.update(task, advance=tally.n, escaped=escaped)
                for one in tally.escapes:
                    console.print(f"{one.reader}, case {one.number}: {one.what}", markup=False)
    console.print(_table(tallies))
    escapes = [escape for tally in tallies.values() for escape in tally.escapes]
    _report(escapes, Path(options.out), console)
    n_done, seconds = sum(one.n for one in tallies.values()), time.perf_counter() - begun
    console.print(
        f"{n_done:,} cases, {len(escapes)} escapes, {seconds:.0f} s with {options.processes} "
        f"processes, at most {options.seconds:g} s and {options.megabytes} MB a case"
    )
    return min(len(escapes), 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=10.0, help="a case may take")
    parser.add_argument("--megabytes", type=int, default=1024, help="a case may take")
    parser.add_argument("--reader", action="append", help="only this one; may be repeated")
    parser.add_argument("--out", default="fuzz_escapes", help="folder of the files that escaped")
    return parser.parse_args()


def _chunks(weights: Mapping[str, float], n_cases: int) -> list[tuple[str, range]]:
    """Return readers with the numbers of their cases, mixed, so that the end comes evenly."""
    found = []
    for name, weight in weights.items():
        n_own = ceil(n_cases * weight / sum(weights.values()))
        found += [
            (name, range(first, min(first + CHUNK, n_own))) for first in range(0, n_own, CHUNK)
        ]
    Random(0).shuffle(found)
    return found


def _run(
    chunks: Sequence[tuple[str, range]], options: argparse.Namespace
) -> Iterator[tuple[str, Tally]]:
    waiting = list(reversed(chunks))
    workers = [_Worker(options) for _ in range(max(1, options.processes))]
    try:
        while waiting or any(worker.chunk for worker in workers):
            for worker in workers:
                if worker.is_ready and waiting:
                    worker.give(waiting.pop())
            wait([worker.answers for worker in workers if not worker.is_ready], timeout=1.0)
            for worker in workers:
                yield from worker.done(waiting)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, and the chunk that it is at."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.answers, theirs = context.Pipe()
        # Where it is: if it dies or hangs, nobody else can tell.
        self._at = context.Value("q", -1)
        limits = (self._options.seed, self._options.seconds, self._options.megabytes)
        names = tuple(self._options.reader or ())
        self._process: SpawnProcess = context.Process(
            target=_work, args=(theirs, self._at, *limits, names), daemon=True
        )
        self._process.start()
        theirs.close()
        self.is_ready, self.chunk = False, None
        self._heard = time.monotonic() + START_SECONDS

    chunk: tuple[str, range] | None

    def give(self, chunk: tuple[str, range]) -> None:
        """Have a chunk done."""
        self.chunk, self.is_ready = chunk, False
        self._heard, self._seen = time.monotonic(), -1
        self.answers.send(chunk)

    def done(self, waiting: list[tuple[str, range]]) -> Iterator[tuple[str, Tally]]:
        """Yield what is done; the rest of a chunk whose case ended the process waits again."""
        try:
            if self.answers.poll():
                tally: Tally | None = self.answers.recv()
                if tally is not None and self.chunk is not None:
                    yield self.chunk[0], tally
                self.is_ready, self.chunk = True, None
                return
        except (EOFError, OSError):
            pass
        if self.is_ready or (self._process.is_alive() and not self._is_hung()):
            return
        was_alive = self._process.is_alive()
        self.end()
        if self.chunk is None:
            raise RuntimeError(f"a process cannot start: it ended with {self._process.exitcode}")
        name, numbers = self.chunk
        at = max(self._at.value, numbers.start)
        what = "it hangs" if was_alive else f"the process ended with {self._process.exitcode}"
        escape = Escape(
            reader=name,
            seed=self._options.seed,
            number=at,
            what=what,
            content=_content(name, self._options.seed, at),
        )
        # What it had done before is done again: its tally is lost.
        waiting += [(name, range(numbers.start, at)), (name, range(at + 1, numbers.stop))]
        yield name, Tally(n=1, escapes=[escape])
        self._start()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.answers.close()

    def _is_hung(self) -> bool:
        if self._at.value != getattr(self, "_seen", None):
            self._seen, self._heard = self._at.value, max(self._heard, time.monotonic())
        limit: float = HUNG * self._options.seconds + SHRINK_SECONDS
        return time.monotonic() - self._heard > limit


def _work(
    answers: Connection,
    at: Any,
    seed: int,
    seconds: float,
    megabytes: int,
    names: Sequence[str] = (),
) -> None:
    """Do chunks until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory(prefix="nas-fuzz-") as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        os.chdir(folder)
        from readers import every_reader

        readers = every_reader()
        _warm([readers[name] for name in names or readers], Path(folder) / "good")
        answers.send(None)
        while True:
            try:
                name, numbers = answers.recv()
            except EOFError:
                return
            answers.send(_tally(readers[name], numbers, at, seed, seconds, megabytes, folder))


def _warm(readers: Sequence[Any], folder: Path) -> None:
    """Read what is good, so that no case pays for imports."""
    from readers import kept

    for number, reader in enumerate(readers):
        for content in kept(reader.examples):
            _outcome(reader, content, folder / str(number), 120.0)


def _tally(
    reader: Any,
    numbers: range,
    at: Any,
    seed: int,
    seconds: float,
    megabytes: int,
    folder: str,
) -> Tally:
    tally = Tally()
    place = Path(folder) / reader.name.replace(" ", "_")
    base = _peak_mb()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_size() + megabytes * 2**20, before[1]))
    try:
        for number in numbers:
            at.value = number
            content = reader.case(_random(reader.name, seed, number))
            begun = time.perf_counter()
            what = _outcome(reader, content, place, seconds)
            taken = time.perf_counter() - begun
            tally.n += 1
            tally.n_read += what == ""
            tally.seconds += taken
            tally.slowest = max(tally.slowest, taken)
            if what not in ("", "refused"):
                small = _shrunk(reader, content, what, place, seconds)
                tally.escapes.append(
                    Escape(reader=reader.name, seed=seed, number=number, what=what, content=small)
                )
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    tally.megabytes = _peak_mb() - base
    return tally


def _outcome(reader: Any, content: bytes, folder: Path, seconds: float) -> str:
    """Return what came out: nothing, `refused`, or an error with the place that it came from."""
    from nas.errors import NasError

    def late(*_: object) -> None:
        raise TooLongError

    # Of the processor's time, as others may have the machine; by the clock only who sleeps.
    signal.signal(signal.SIGPROF, late)
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, ASLEEP * seconds)
    try:
        reader.try_on(content, folder)
    except NasError as error:
        return "refused" if str(error) else "an error without a word"
    except (Exception, TooLongError) as error:
        return _place(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        one
        for one in frames
        if Path(one.filename).is_relative_to(ROOT) and one.filename != __file__
    ]
    last = own[-1] if own else frames[-1]
    words = " ".join(str(error).split())[:100]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {words}".strip()


def _shrunk(reader: Any, content: bytes, what: str, folder: Path, seconds: float) -> bytes:
    """Return a smaller content that fails at the same line, found by leaving pieces out."""
    wanted = what.split(" ")[:3]
    deadline = time.monotonic() + SHRINK_SECONDS
    size = len(content) // 2
    while size:
        start = 0
        while start < len(content) and time.monotonic() < deadline:
            shorter = content[:start] + content[start + size :]
            if _outcome(reader, shorter, folder, seconds).split(" ")[:3] == wanted:
                content = shorter
            else:
                start += size
        size //= 2
    return content


def _content(name: str, seed: int, number: int) -> bytes:
    from readers import every_reader

    content: bytes = every_reader()[name].case(_random(name, seed, number))
    return content


def _random(name: str, seed: int, number: int) -> Random:
    return Random(f"{seed}/{name}/{number}")


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _add(total: Tally, tally: Tally) -> None:
    total.n += tally.n
    total.n_read += tally.n_read
    total.seconds += tally.seconds
    total.slowest = max(total.slowest, tally.slowest)
    total.megabytes = max(total.megabytes, tally.megabytes)
    total.escapes += tally.escapes


def _table(tallies: Mapping[str, Tally]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("reader")
    for title in ("cases", "read", "refused", "escaped", "ms", "slowest s", "grew MB"):
        table.add_column(title, justify="right")
    columns: Sequence[Callable[[Tally], str]] = (
        lambda one: f"{one.n:,}",
        lambda one: f"{one.n_read:,}",
        lambda one: f"{one.n - one.n_read - len(one.escapes):,}",
        lambda one: f"{len(one.escapes):,}",
        lambda one: f"{1000 * one.seconds / max(1, one.n):.1f}",
        lambda one: f"{one.slowest:.2f}",
        lambda one: f"{one.megabytes:.0f}",
    )
    for name, tally in tallies.items():
        table.add_row(name, *(column(tally) for column in columns))
    return table


def _report(escapes: Sequence[Escape], out: Path, console: Console) -> None:
    """List the escapes by kind, and keep the smallest file of each."""
    kinds = Counter((one.reader, one.what) for one in escapes)
    for (reader, what), count in kinds.most_common():
        same = [one for one in escapes if (one.reader, one.what) == (reader, what)]
        least = min(same, key=lambda one: len(one.content))
        out.mkdir(exist_ok=True)
        path = out / f"{reader.replace(' ', '_')}-{least.seed}-{least.number}"
        path.write_bytes(least.content)
        console.print(f"{count} x {reader}: {what}", markup=False)
        console.print(f"    {least.content[:200]!r}\n    {path}", markup=False)


if __name__ == "__main__":
    raise SystemExit(main())
