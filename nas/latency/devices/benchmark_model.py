"""LiteRT's `benchmark_model`: its command line, and what its output says.

The formats are those of tensorflow/lite and LiteRT from 2019 to 2026: a line `count=50 first=...`
after the warm-ups and one after the runs, in microseconds, later with `INFO: ` before it and the
median behind. No version tells the times of single runs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STATISTICS = re.compile(r"^(?:INFO: )?count=\d")
_PAIR = re.compile(r"(\w+)=([-+.\w]+)")
_AVERAGE = re.compile(r"Inference \(avg\): ([-+.\w]+)|(?:no stats|Inference): ([-+.\w]+)")
_TIMINGS = re.compile(r"nference timings in us: ")
_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs"
MAX_LINE = 1000
MAX_MS = 1e9
_NUMBER = r"[-+.\w]+%?"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun:
    """The statistics of one process; None where this version does not tell them."""

    n: int | None
    avg_ms: float
    median_ms: float | None
    min_ms: float | None

    @property
    def ms(self) -> float:
        """Return the median, or else the mean."""
        return self.avg_ms if self.median_ms is None else self.median_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """The mean time of one operator of a model; `name` tells which one."""

    kind: str
    name: str
    ms: float


def benchmark_command(
    program: str,
    graph: str,
    *,
    threads: int,
    cores: Sequence[int],
    n_warmups: int,
    n_runs: int,
    visit_ms: float,
    profile: str | None = None,
) -> list[str]:
    """Return the words of a command that times `graph`, held on `cores`.

    `profile` names a file for the times of the operators, which cost time themselves.
    """
    mask = sum(1 << core for core in cores)
    words = [
        *("taskset", f"{mask:x}", program),
        f"--graph={graph}",
        f"--num_threads={threads}",
        # Without a warm-up, some versions print statistics of nothing.
        f"--warmup_runs={max(1, n_warmups)}",
        f"--num_runs={n_runs}",
        # By default it runs for half a second and a second, whatever the numbers of runs.
        "--warmup_min_secs=0",
        "--min_secs=0",
        f"--max_secs={visit_ms / 1000:g}",
        "--use_xnnpack=true",
    ]
    if profile is not None:
        words += ["--enable_op_profiling=true", f"--profiling_output_csv_file={profile}"]
    return words


def parse_benchmark(text: str) -> BenchmarkRun:
    """Return what the output says of the runs, the warm-ups left out.

    Raises:
        ValueError: it says no time, or none that can be.
    """
    # Longer lines are none of its own, and would cost a time that grows with their square.
    lines = [line.strip() for line in text.splitlines() if len(line) <= MAX_LINE]
    statistics = [line for line in lines if _STATISTICS.match(line)]
    if len(statistics) >= 2:
        pairs: dict[str, str] = dict(_PAIR.findall(statistics[-1]))
        average = pairs.get("avg", pairs.get("curr", ""))
        median, least = pairs.get("median"), pairs.get("min", pairs.get("curr"))
        return BenchmarkRun(
            n=int(pairs["count"][:18]),
            avg_ms=_ms(average),
            median_ms=None if median is None else _ms(median),
            min_ms=None if least is None else _ms(least),
        )
    for line in lines:
        if _TIMINGS.search(line) and (found := _AVERAGE.search(line)):
            only = found[1] or found[2] or ""
            return BenchmarkRun(n=None, avg_ms=_ms(only), median_ms=None, min_ms=None)
    raise ValueError("it prints no line `count=... avg=...` in microseconds")


def parse_op_profile(text: str) -> list[OpTime]:
    """Return the times of the operators in the order in which they run.

    Raises:
        ValueError: the text holds no such table, or a line of it is none.
    """
    _, _, regular = text.rpartition(_REGULAR)
    lines = [line.strip() for line in regular.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("node type,")]
    if not starts:
        raise ValueError("it holds no table that begins with `node type,`")
    columns = [column.strip() for column in lines[starts[0]].split(",")]
    if "avg_ms" not in columns[1:-1]:
        raise ValueError(f"the table has no column avg_ms, but {', '.join(columns)}")
    # Kinds hold commas themselves: "Convolution (NHWC, F32) IGEMM". Numbers do not.
    n_numbers = len(columns) - 2
    row = re.compile(rf"^(.*?)\s*,\s*((?:{_NUMBER}\s*,\s*){{{n_numbers}}})(.*)$")
    found = []
    for line in lines[starts[0] + 1 :]:
        if not line or line.startswith("="):
            break
        match = row.match(line) if len(line) <= MAX_LINE else None
        if match is None:
            raise ValueError(f"no line of that table: {line[:80]!r}")
        numbers = [number.strip() for number in match[2].split(",")]
        ms = float(numbers[columns.index("avg_ms") - 1])
        if not 0 <= ms <= MAX_MS:
            raise ValueError(f"a time must be from 0 to {MAX_MS:g} ms, but is {ms}")
        found.append(OpTime(kind=match[1], name=match[3], ms=ms))
    return found


def _ms(us: str) -> float:
    value = float(us) / 1000
    if not 0 < value <= MAX_MS:
        raise ValueError(
            f"a time must be above 0 and at most {1000 * MAX_MS:g} microseconds, but is {us[:40]}"
        )
    return value
