"""A host table against whole networks: `python benchmarks/whole_networks.py <table.csv>`.

Times the baselines and random networks whole, in shuffled rounds on one core, and prints the
table's sum over each, beside how well the whole-network times repeat (two halves of the rounds).
"""

import argparse
import os
import time

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nas.arch import Arch
from nas.latency.runtimes import Session, load_runtime
from nas.latency.table import LatencyTable
from nas.network.build import build
from nas.space import SearchSpace

BASELINES = ("mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "mnasnet_a1")
N_RANDOM = 25
N_ROUNDS = 20
N_RUNS = 4
QUICK = 0.25


def timed_rounds(sessions: list[Session]) -> NDArray[np.float64]:
    """Return the median ms of each session (rows) in each round (columns)."""
    rng = np.random.default_rng(0)
    times_ms = np.zeros((len(sessions), N_ROUNDS))
    for number in range(N_ROUNDS):
        for index in rng.permutation(len(sessions)):
            sessions[index]()
            runs_ms = []
            for _ in range(N_RUNS):
                begun = time.perf_counter()
                sessions[index]()
                runs_ms.append((time.perf_counter() - begun) * 1e3)
            times_ms[index, number] = np.median(runs_ms)
    return times_ms


def main() -> None:
    """Print ratios of table to whole network, and how well whole networks repeat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    table = LatencyTable.load(parser.parse_args().table)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.manual_seed(0)
    space = SearchSpace.load("mobilenet_v3_large")
    archs = [Arch.load(name) for name in BASELINES] + [space.random(i) for i in range(N_RANDOM)]
    runtime = load_runtime("onnxruntime", threads=1, dtype="fp32")
    times_ms = timed_rounds(
        [runtime.prepare(build(arch).eval(), torch.randn(1, 3, 224, 224)) for arch in archs]
    )
    whole = np.quantile(times_ms, QUICK, axis=1)
    ratio = table.predict_many_ms(archs) / whole
    for arch, share in zip(archs, ratio[: len(BASELINES)], strict=False):
        print(f"{arch.name}: table / whole network {share:.2f}")
    scale = float(np.median(ratio))
    errors = np.abs(ratio / scale - 1)
    tau = kendalltau(table.predict_many_ms(archs), whole).statistic
    print(
        f"median ratio {scale:.2f}; with that one scale: mean error {errors.mean():.1%}, "
        f"tau {tau:.2f}"
    )
    halves = [np.quantile(times_ms[:, half::2], QUICK, axis=1) for half in (0, 1)]
    spread = np.abs(halves[0] / halves[1] - 1).mean()
    tau = kendalltau(*halves).statistic
    print(f"whole networks again: mean difference {spread:.1%}, tau {tau:.2f}")


if __name__ == "__main__":
    main()
