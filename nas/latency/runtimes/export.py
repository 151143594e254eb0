"""From layers and networks to model files, the slow ones in parallel and from the cache."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.arch import Layer
from nas.errors import NasError
from nas.latency.runtimes.cache import ModelCache
from nas.latency.runtimes.contract import (
    Runtime,
    chain_module,
    layer_module,
)
from nas.latency.runtimes.registry import load_runtime
from nas.steps import OnStep


def subject_of(layers: Iterable[Layer]) -> str:
    """Return what an export is asked for by: the lines of its layers."""
    return "\n".join(map(str, layers))


def subject_module(subject: str) -> tuple[nn.Module, Tensor]:
    """Return the module of a subject in eval mode, and one image of noise."""
    layers = tuple(map(Layer.parse, subject.splitlines()))
    return layer_module(layers[0]) if len(layers) == 1 else chain_module(layers)


def exported(
    subjects: Iterable[str],
    runtime: Runtime,
    *,
    n_workers: int = 1,
    on_step: OnStep | None = None,
    cache: ModelCache | None = None,
) -> Iterator[tuple[str, Path | bytes]]:
    """Yield each different subject and its model file, as it is found or made.

    Those that a fast runtime makes come as bytes, and so do those that the cache cannot take. What
    is made is kept as it ends: interrupted, another run goes on from there.

    Raises:
        NasError: a subject cannot be exported, or the process that exports it dies.
    """
    wanted = list(dict.fromkeys(subjects))
    files = _made(wanted, runtime)
    if runtime.is_slow:
        files = _kept(wanted, runtime, n_workers, cache or ModelCache())
    for number, (subject, file) in enumerate(files, start=1):
        if on_step:
            on_step("exporting", number, len(wanted))
        yield subject, file


def _made(subjects: Sequence[str], runtime: Runtime) -> Iterator[tuple[str, Path | bytes]]:
    for subject in subjects:
        yield subject, _export(subject, runtime)


def _kept(
    subjects: Sequence[str], runtime: Runtime, n_workers: int, cache: ModelCache
) -> Iterator[tuple[str, Path | bytes]]:
    missing = []
    for subject in subjects:
        path = cache.find(subject, runtime)
        if path:
            yield subject, path
        else:
            missing.append(subject)
    cache.trim()
    for subject, content in _made_in_workers(missing, runtime, n_workers):
        yield subject, cache.store(subject, runtime, content) or content


def _made_in_workers(
    subjects: Sequence[str], runtime: Runtime, n_workers: int
) -> Iterator[tuple[str, bytes]]:
    """Yield subjects and files as workers end them.

    Each worker is a pool of its own: when one dies, its subject is known.
    """
    waiting = deque(subjects)
    workers = [_worker() for _ in range(min(n_workers, len(subjects)))]
    running: dict[Future[bytes], tuple[str, ProcessPoolExecutor]] = {}
    spec = (runtime.name, runtime.dtype, runtime.mode)
    try:
        for worker in workers:
            subject = waiting.popleft()
            running[worker.submit(_export_by_name, subject, *spec)] = (subject, worker)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                subject, worker = running.pop(future)
                content = _content(future, subject, runtime)
                if waiting:
                    following = waiting.popleft()
                    made = worker.submit(_export_by_name, following, *spec)
                    running[made] = (following, worker)
                yield subject, content
    finally:
        for worker in workers:
            _stop(worker)


def _content(future: "Future[bytes]", subject: str, runtime: Runtime) -> bytes:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise NasError(
            f"the process that exports {_short(subject)} for {runtime.name} {runtime.dtype} was "
            "killed, most often for want of memory. Close other programs, or export in fewer "
            "processes (n_workers=1), and start again: what is exported is kept."
        ) from error


def _worker() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    # Ctrl-C reaches every process of a terminal; the parent alone decides what it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _stop(worker: ProcessPoolExecutor) -> None:
    processes = list((worker._processes or {}).values())
    worker.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _export_by_name(subject: str, name: str, dtype: str, mode: str | None) -> bytes:
    return _export(subject, load_runtime(name, dtype, mode))


def _export(subject: str, runtime: Runtime) -> bytes:
    try:
        return runtime.export(*subject_module(subject))
    except Exception as error:
        reason = str(error) if isinstance(error, NasError) else repr(error)[:500]
        raise NasError(
            f"{_short(subject)} cannot be exported for {runtime.name} {runtime.dtype}: {reason}"
        ) from error


def _short(subject: str) -> str:
    first, *others = subject.splitlines()
    return f"layer `{first}`" if not others else f"the network of {len(others) + 1} layers"
