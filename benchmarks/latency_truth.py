"""How true a table is: `python benchmarks/latency_truth.py [--runtime litert] [--busy] [--again]`.

Measures, calibrates and checks a table of mobilenet_v3_large on this machine by the command that
users type, and prints what must hold beside what was found; then, from the same readings, what
other ways would have predicted: the plain sum of isolated medians, MAdds times a constant, the
isolated times with one scale, whole networks without isolated times, and calibration without
chains. `--again` builds the table a second time and prints how far the rows moved, `--busy` loads
the other cores meanwhile, `--carrier` also times each layer inside a carrier network.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nas.arch import Layer
from nas.baselines import baselines
from nas.cost import count_macs
from nas.latency.agreement import Agreement
from nas.latency.calibrate import Isolated, Timed, calibrate
from nas.latency.check import Check, check_path
from nas.latency.devices.local import LocalDevice
from nas.latency.raw_times import raw_times_path
from nas.latency.readings import Measurement, measurements
from nas.latency.runner.timing import Plan, Reading
from nas.latency.runtimes.registry import load_runtime
from nas.latency.session import Session
from nas.latency.settings import N_CALIBRATION, N_CHECK
from nas.latency.subjects import Probes, Subject, choose_probes
from nas.latency.table import LatencyTable
from nas.ops import ops_of
from nas.space import SearchSpace

SPACE = "mobilenet_v3_large"
Rows = Mapping[Layer, float]


def build(folder: Path, arguments: argparse.Namespace) -> tuple[Path, float]:
    """Return the table that the command writes, and the seconds that it took."""
    folder.mkdir(parents=True)
    words = ["+hardware=host_cpu", f"space={SPACE}", "table=table.csv"]
    words += [f"runtime={arguments.runtime}", f"dtype={arguments.dtype}"]
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "nas.latency", *words], cwd=folder, check=True)
    return folder / "table.csv", time.monotonic() - begun


@contextmanager
def busy_cores(n: int) -> Iterator[None]:
    """Load `n` other cores, each with matrix products on one thread."""
    code = "import numpy; a = numpy.random.rand(512, 512)\nwhile True: a @ a"
    alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env={**os.environ, **alone}) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def print_goals(table: Path, seconds: float) -> None:
    """Print what must hold beside what was found."""
    check = Check.load(check_path(table))
    unseen, repeat, known = check.unseen, check.repeat_unseen, check.baselines
    assert unseen and repeat and known
    goals = [
        ("within 10 %", unseen.within_10_percent, ">=", 100),
        ("within 5 %", unseen.within_5_percent, ">=", 95),
        ("mean error %", unseen.mean_error_percent, "<=", 1.3 * repeat.mean_error_percent),
        ("Kendall tau", unseen.tau, ">=", repeat.tau - 0.03),
        ("|bias| %", abs(unseen.bias_percent), "<=", 1),
        ("worst baseline %", known.worst_percent, "<=", 7),
        ("seconds", seconds, "<=", 180),
    ]
    for name, found, sign, goal in goals:
        holds = found >= goal if sign == ">=" else found <= goal
        print(f"{name:18} {found:8.3f} {sign} {goal:8.3f}  {'holds' if holds else 'MISSED'}")


def readings_of(table: Path) -> dict[str, Measurement]:
    """Return what the readings beside a table say."""
    lines = raw_times_path(table).read_text().splitlines()[1:]
    return measurements([Reading(**json.loads(line)) for line in lines])


def print_other_ways(table: Path) -> None:
    """Print how well other ways predict the unseen networks, from the same readings.

    Plain medians of layers are compared with plain medians of networks; the rest with networks at
    the machine's quick pace, at which a table is.
    """
    probes = choose_probes(
        [SearchSpace.load(SPACE)],
        baselines(),
        n_calibration=N_CALIBRATION,
        n_check=N_CHECK,
        seed=0,
    )
    found = readings_of(table)
    rows = LatencyTable.load(table).rows
    paced = {name: measured.ms for name, measured in found.items()}
    plain = {name: float(np.median(np.concatenate(one.visits_ms))) for name, one in found.items()}
    networks = [one for one in probes.calibration if one.is_network]

    def layers(times: Mapping[str, float]) -> Rows:
        return {layer: times[str(layer)] for layer in rows}

    def scaled(rows: Rows, times: Mapping[str, float]) -> Rows:
        scale = float(np.median([times[one.name] / _sum(rows, one) for one in networks]))
        return {layer: ms * scale for layer, ms in rows.items()}

    def calibrated(ms: Rows, std_ms: Rows) -> Rows:
        isolated = {layer: Isolated(ms=ms[layer], std_ms=std_ms[layer]) for layer in ms}
        timed = [Timed(subject=one, ms=paced[one.name]) for one in networks]
        return calibrate(isolated, timed).ms

    errors = {layer: found[str(layer)].std_ms for layer in rows}
    macs = {layer: sum(op.macs for op in ops_of(layer)) / 1e6 for layer in rows}
    by_macs = scaled(macs, paced)
    ours = {layer: row.ms for layer, row in rows.items()}
    print_way("this table", ours, probes, paced)
    print_way("plain sum of isolated medians", layers(plain), probes, plain)
    print_way("the same, one scale", scaled(layers(plain), plain), probes, plain)
    print_way("at one pace", layers(paced), probes, paced)
    print_way("at one pace, one scale", scaled(layers(paced), paced), probes, paced)
    print_way("MAdds times a constant", by_macs, probes, paced)
    print_way("networks, no isolated times", calibrated(by_macs, by_macs), probes, paced)
    print_way("calibrated without chains", calibrated(layers(paced), errors), probes, paced)


def print_way(name: str, rows: Rows, probes: Probes, times: Mapping[str, float]) -> None:
    """Print how a way's rows agree with the networks of the check."""

    def agreement(subjects: list[Subject]) -> Agreement:
        predicted = [_sum(rows, one) for one in subjects]
        result = Agreement.of(predicted, [times[one.name] for one in subjects])
        assert result
        return result

    unseen = agreement(list(probes.unseen))
    known = agreement(list(probes.baselines.values()))
    print(
        f"{name:30} mean {unseen.mean_error_percent:5.1f} %  bias {unseen.bias_percent:+6.1f} %  "
        f"within 5 % {unseen.within_5_percent:5.1f} %  tau {unseen.tau:.3f}  "
        f"worst baseline {known.worst_percent:5.1f} %"
    )


def print_carrier(table: Path, arguments: argparse.Namespace) -> None:
    """Print how well layers do that are timed inside a carrier network.

    Each layer of the space takes the place of one that it can stand for; what the network then
    takes more or less is what the layer costs more or less.
    """
    space = SearchSpace.load(SPACE)
    carrier = space.random(seed=1)
    places: dict[tuple[int, ...], list[int]] = {}
    for index, layer in enumerate(carrier.layers):
        places.setdefault(_place(layer), []).append(index)
    rows = LatencyTable.load(table).rows
    found = readings_of(table)
    swaps: dict[Layer, Subject] = {}
    for layer in space.layers():
        if _place(layer) in places and layer not in carrier.layers:
            layers = list(carrier.layers)
            layers[places[_place(layer)][-1]] = layer
            swaps[layer] = Subject(name=f"carrying {layer}", layers=tuple(layers), is_network=True)
    base = Subject(name="carrier", layers=carrier.layers, is_network=True)
    session = Session(
        device=LocalDevice(),
        runtime=load_runtime(arguments.runtime, arguments.dtype),
        threads=1,
        cores=(),
        plan=Plan(),
        seed=0,
        raw_path=table.with_name("carrier.raw.jsonl"),
        conditions={"carrier": carrier.key()},
        on_step=lambda stage, n_done, n_all: None,
    )
    timed = session.time([base, *swaps.values()]).measurements
    inside = {layer: found[str(layer)].ms for layer in rows}
    scale = timed[base.name].ms / _sum(inside, base)
    inside = {layer: ms * scale for layer, ms in inside.items()}
    for layer, subject in swaps.items():
        replaced = carrier.layers[places[_place(layer)][-1]]
        more_ms = timed[subject.name].ms - timed[base.name].ms
        inside[layer] = max(inside[replaced] + more_ms, 1e-6)
    probes = choose_probes(
        [space], baselines(), n_calibration=N_CALIBRATION, n_check=N_CHECK, seed=0
    )
    times = {name: measured.ms for name, measured in found.items()}
    print_way(f"{len(swaps)} layers in a carrier", inside, probes, times)


def _place(layer: Layer) -> tuple[int, ...]:
    return (layer.size, layer.in_channels, layer.out_channels, layer.stride)


def _sum(rows: Rows, subject: Subject) -> float:
    return sum(map(rows.__getitem__, subject.layers))


def print_change(first: Path, second: Path) -> None:
    """Print how far the rows moved between two builds."""
    rows, again = LatencyTable.load(first).rows, LatencyTable.load(second).rows
    for what in ("ms", "isolated_ms"):
        changes = [abs(getattr(again[x], what) / getattr(rows[x], what) - 1) for x in rows]
        median, most = np.quantile(changes, (0.5, 0.9))
        print(f"rebuilt: {what} changes by {median:.1%} in the median, {most:.1%} at the 90th")


def main() -> None:
    """Build a table, or two, and print how true it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--carrier", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    n_others = (os.cpu_count() or 1) - 1
    with busy_cores(n_others if arguments.busy else 0):
        table, seconds = build(folder / "first", arguments)
        second = build(folder / "second", arguments)[0] if arguments.again else None
        print_goals(table, seconds)
        print_other_ways(table)
        if second:
            print_change(table, second)
        if arguments.carrier:
            print_carrier(table, arguments)
    arch = next(one for one in baselines() if one.name == "mobilenet_v3_large")
    macs = count_macs(arch) / 1e6
    print(f"V3-Large: {LatencyTable.load(table).predict_ms(arch):.2f} ms for {macs:.0f} M MAdds")


if __name__ == "__main__":
    main()
