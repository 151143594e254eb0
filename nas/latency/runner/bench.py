"""Time model files of one runtime: on this machine, or wherever this folder was copied to."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.latency.runner.machine import free_memory_bytes, pinned
from nas.latency.runner.sessions import MissingPackageError, Session, open_session
from nas.latency.runner.timing import ANCHOR, Plan, Reading, time_rounds

Model = bytes | Path
# A session holds its file's weights, often a second time in an order of its own, and buffers.
MEMORY_PER_FILE_BYTE = 3
MEMORY_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to time and how: model files by name, the anchor's beside them.

    `cores` are those to hold the threads on; where it is empty, the fastest ones.
    """

    runtime: str
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    cores: tuple[int, ...] = ()
    plan: Plan
    seed: int = 0
    models: Mapping[str, Model]
    anchor: Model


def time_models(
    job: Job,
    *,
    done: Collection[tuple[str, int]] = (),
    start_s: float = 0.0,
    on_open: Callable[[int, int], None] = lambda n_done, n_all: None,
) -> Iterator[Reading]:
    """Yield a reading a visit, as `time_rounds` does.

    Sessions stay open as far as half of the free memory goes; the others are opened anew at each of
    their visits, before the clock starts.

    Raises:
        ValueError: a model cannot be run, or the cores are not to be had.
        MissingPackageError: the runtime is not installed.
    """
    with pinned(job.threads, job.cores):
        yield from _time(job, done, start_s, on_open)


def _time(
    job: Job,
    done: Collection[tuple[str, int]],
    start_s: float,
    on_open: Callable[[int, int], None],
) -> Iterator[Reading]:
    names = [
        name for name in job.models if any((name, number) not in done for number in job.plan.rounds)
    ]
    left = MEMORY_SHARE * free_memory_bytes()
    runs: dict[str, Callable[[], object]] = {}
    for number, name in enumerate(names, start=1):
        left -= MEMORY_PER_FILE_BYTE * _n_bytes(job.models[name])
        runs[name] = _open(job, name) if left > 0 else _Reopened(job, name)
        on_open(number, len(names))
    anchor = _open(job, ANCHOR)
    yield from time_rounds(runs, anchor, job.plan, seed=job.seed, done=done, start_s=start_s)


class _Reopened:
    """A session that is opened before a visit and closed after it."""

    def __init__(self, job: Job, name: str) -> None:
        self._job, self._name = job, name
        self._session: Session | None = None

    def __enter__(self) -> None:
        self._session = _open(self._job, self._name)

    def __exit__(self, *_: object) -> None:
        self._session = None

    def __call__(self) -> None:
        if self._session is not None:
            self._session()


def _open(job: Job, name: str) -> Session:
    model = job.anchor if name == ANCHOR else job.models[name]
    try:
        return open_session(job.runtime, model, threads=job.threads, options=job.options)
    except (MissingPackageError, MemoryError):
        raise
    except Exception as error:  # each runtime has its own types
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the model of {name} cannot be run by {job.runtime}: {reason}") from error


def _n_bytes(model: Model) -> int:
    return len(model) if isinstance(model, bytes) else model.stat().st_size
