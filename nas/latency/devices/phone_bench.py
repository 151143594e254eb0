"""LiteRT's `benchmark_model` run on a phone, a process each time."""

import shlex
from collections.abc import Sequence
from functools import partial

from nas.errors import NasError
from nas.latency.devices.adb_shell import Adb, PhoneCommandError
from nas.latency.devices.benchmark_model import (
    OpTime,
    benchmark_command,
    parse_benchmark,
    parse_op_profile,
)

N_TRIES = 2


class PhoneBench:
    """The program on the phone, and how it is run."""

    def __init__(
        self,
        adb: Adb,
        program: str,
        *,
        threads: int,
        cores: Sequence[int],
        n_warmups: int,
        n_runs: int,
        visit_ms: float,
    ) -> None:
        self._adb = adb
        self._command = partial(
            benchmark_command,
            program,
            threads=threads,
            cores=cores,
            n_warmups=n_warmups,
            n_runs=n_runs,
            visit_ms=visit_ms,
        )
        # Warm-ups and runs may each take the visit's time, and a single run be long.
        self._timeout_s = 60 + 2 * visit_ms / 1000

    def ms(self, graph: str, name: str) -> float:
        """Return the time of the model `name`; what makes no sense is asked once more.

        Raises:
            NasError: the phone was lost, or the program does not run the model, or tells no time.
        """
        reason = ""
        for _ in range(N_TRIES):
            output = self._output(self._command(graph), name)
            try:
                return parse_benchmark(output).ms
            except ValueError as error:
                reason = str(error)
        raise NasError(
            f"benchmark_model must tell the time of {name}, but {reason}. Take a build of "
            "LiteRT's tools/benchmark:benchmark_model."
        )

    def op_times(self, graph: str, name: str, table: str) -> list[OpTime]:
        """Return the times of the model's operators; the file `table` on the phone is for them.

        Raises:
            NasError: the phone was lost, or the program does not run the model, or tells none.
        """
        self._adb.shell(f"rm -f {shlex.quote(table)}")
        output = self._output(self._command(graph, profile=table), name)
        written = self._adb.shell(f"cat {shlex.quote(table)} 2>/dev/null || true")
        try:
            return parse_op_profile(written or output)
        except ValueError as error:
            raise NasError(
                f"benchmark_model must tell the times of operators, but {error}. Take a build "
                "that knows --profiling_output_csv_file."
            ) from error

    def _output(self, words: Sequence[str], name: str) -> str:
        try:
            return self._adb.shell(shlex.join(words), self._timeout_s)
        except PhoneCommandError as error:
            raise NasError(
                f"benchmark_model cannot run {name}: {error}. It must be built for this phone and "
                f"know the model's operators; try it: adb shell {shlex.join(words)}"
            ) from error
