"""An Android phone that is reached over adb: one process of `benchmark_model` a visit."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from time import monotonic

from nas.errors import NasError, shown
from nas.latency.devices.adb_shell import Adb
from nas.latency.devices.benchmark_model import OpTime
from nas.latency.devices.contract import Facts
from nas.latency.devices.cooling import Heat, PhoneState
from nas.latency.devices.options import count, word, word_or_none
from nas.latency.devices.phone import read_phone
from nas.latency.devices.phone_bench import PhoneBench
from nas.latency.devices.phone_folder import EXAMPLE, PhoneFolder
from nas.latency.devices.phone_heat import read_temperature_c
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import Reading, visits
from nas.steps import OnStep

RUNTIME = "litert"


class AdbDevice:
    """Time on an Android phone.

    A process costs some 100 ms, so a visit makes at least `runs` runs, and may take `visit_ms`.
    `states` tells of heat and clocks before and after each round of the last timing.

    Args:
        adb: the program.
        serial: which phone; None where there is one.
        benchmark_model: LiteRT's program built for the phone: a file here, or one on the phone.
        folder: where programs and models lie on the phone.
        max_temperature_c: the phone is let cool when it is hotter.
        cool_down_s: how long it may take to cool.
        retry_s: how long a lost phone is waited for.
    """

    def __init__(
        self,
        *,
        adb: str = "adb",
        serial: str | None = None,
        benchmark_model: str | None = None,
        folder: str = "/data/local/tmp/nas-cpu",
        max_temperature_c: int = 40,
        cool_down_s: int = 600,
        retry_s: int = 60,
        runs: int = 20,
        visit_ms: int = 300,
    ) -> None:
        if benchmark_model is None:
            raise NasError(
                "a device over adb must have LiteRT's benchmark_model, built for the phone, but "
                f"has none. Set it: {EXAMPLE}"
            )
        if not word(folder, "folder").startswith("/"):
            raise NasError(
                "hardware.connection.folder must be a whole path on the phone, but is "
                f"{shown(folder)}. Write /data/local/tmp/nas-cpu."
            )
        self._adb = Adb(word(adb, "adb"), word_or_none(serial, "serial"), count(retry_s, "retry_s"))
        program = word(benchmark_model, "benchmark_model")
        self._folder = PhoneFolder(self._adb, folder.rstrip("/"), program)
        self._max_temperature_c = count(max_temperature_c, "max_temperature_c", most=100)
        self._cool_down_s = count(cool_down_s, "cool_down_s")
        self._n_runs, self._visit_ms = count(runs, "runs"), count(visit_ms, "visit_ms")
        self.states: list[PhoneState] = []

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        """Return what the phone says of itself; the runtime's version is the program's digest."""
        _check_runtime(runtime)
        self._adb.choose()
        phone = read_phone(self._adb.shell)
        held = phone.cores(threads, cores)
        version = f"benchmark_model {self._folder.program_digest()[:12]}"
        return phone.facts(held, read_temperature_c(self._adb.shell), version)

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        """Yield a reading a visit, with the median of its runs as its one time.

        `benchmark_model` does not tell the single ones; older versions tell the mean only.
        """
        _check_runtime(job.runtime)
        order = list(visits(job.models, job.plan, seed=job.seed, done=done))
        if not order:
            return
        self._adb.on_step = on_step
        held = self._held(job)
        graphs = self._folder.graphs(job, on_step)
        bench = self._bench(job, held)
        heat = Heat(self._adb.shell, held, self._max_temperature_c, self._cool_down_s, on_step)
        self.states = heat.states
        begin_s = monotonic()
        for name, number in order:
            heat.watch(number)
            at_s = start_s + monotonic() - begin_s
            ms = bench.ms(graphs[name], name)
            yield Reading(name=name, round=number, at_s=at_s, times_ms=(ms,))
        heat.end()

    def forget(self) -> None:
        """Do nothing: the phone keeps no readings."""

    def op_times(self, job: Job, name: str) -> list[OpTime]:
        """Return the times of one model's operators; looking at them costs time itself.

        Raises:
            NasError: the phone was lost, or the program tells none.
        """
        _check_runtime(job.runtime)
        bench = self._bench(job, self._held(job))
        graphs = self._folder.graphs(replace(job, models={name: job.models[name]}), _ignore)
        return bench.op_times(graphs[name], name, f"{self._folder.path}/profile.csv")

    def _held(self, job: Job) -> tuple[int, ...]:
        self._adb.choose()
        return read_phone(self._adb.shell).cores(job.threads, job.cores)

    def _bench(self, job: Job, held: tuple[int, ...]) -> PhoneBench:
        return PhoneBench(
            self._adb,
            self._folder.program(),
            threads=job.threads,
            cores=held,
            n_warmups=job.plan.n_warmups,
            n_runs=max(job.plan.n_runs, self._n_runs),
            visit_ms=max(job.plan.visit_ms, self._visit_ms),
        )


def _ignore(what: str, n_done: int, n_all: int) -> None:
    pass


def _check_runtime(runtime: str) -> None:
    if runtime != RUNTIME:
        raise NasError(
            f"a device over adb must have runtime {RUNTIME}, but has {runtime}. "
            f"Write hardware.runtime={RUNTIME}."
        )
