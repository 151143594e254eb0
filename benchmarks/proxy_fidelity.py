"""How far the proxies can be trusted: `python benchmarks/proxy_fidelity.py --table <csv>`.

With `--table`, the ImageNet rows of Accel-NASBench: Kendall's tau of the guided regression on 1,000
held-out networks, from 20 to 150 labelled ones, labels at random and chosen, mean and standard
deviation over repetitions, with how true its doubt is. `--scores` takes a table of training-free
scores (columns `row`, then one a score) and shows on those rows what they add. Two minutes.

With `--images fashion_mnist` (or `cifar10:<folder>`), networks of `small_images` trained here, each
alone from two seeds: guided with 20 labels beside the tau between the two trainings and the tau
that knowing what to expect of each network would reach, and a supernet beside MAdds and params,
over the space and within a latency band. An hour of one quiet core for the 160 trainings and a
quarter for the supernet, which learns from random networks alone (`--sandwich`: by BigNAS's rule);
stopped, it goes on.

With `--shared cifar10:<folder>`, a supernet where it is at home: networks of `small_images_shared`,
of fixed widths, and 5 more from within the band, each trained alone from two seeds on 30,000
images, beside MAdds and params. An hour and a half of one core for the 130 trainings and a quarter
for the supernet.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nas.arch import Arch
from nas.cost import count_macs, count_params
from nas.proxies.accuracy_data import read_bench
from nas.proxies.features import Array
from nas.proxies.guided.choice import choose
from nas.proxies.guided.regression import GuidedRegression

SIZES = (20, 50, 100, 150)
BARS = (0.76, 0.80, 0.85, 0.87)
N_TEST = 1000
SHARED = {"n_images": 30_000, "epochs": 5, "batch_size": 64, "learning_rate": 0.2}
"""How each network is trained alone beside the supernet of fixed widths.

At a rate of 0.05, four networks of a similar space lost 2 points.
"""
Rows = NDArray[np.intp]


class Figures:
    """What was measured for each number of labels, a row a repetition."""

    def __init__(self) -> None:
        self.tau: dict[int, list[float]] = {n: [] for n in SIZES}
        self.errors: dict[int, list[Array]] = {n: [] for n in SIZES}
        self.seconds: dict[int, list[float]] = {n: [] for n in SIZES}

    def add(
        self, archs: Sequence[Arch], top1: Array, taught: Rows, rest: Rows, scores: Array | None
    ) -> None:
        """Fit on the rows `taught` and predict those of `rest`."""
        n = len(taught)
        begun = time.perf_counter()
        regression = GuidedRegression.fit(
            [archs[row] for row in taught],
            top1[taught],
            scores=None if scores is None else scores[taught],
        )
        self.seconds[n].append(time.perf_counter() - begun)
        others = [archs[row] for row in rest]
        mean, std = regression.predict(others, None if scores is None else scores[rest])
        self.tau[n].append(float(kendalltau(mean, top1[rest]).statistic))
        self.errors[n].append((mean - top1[rest]) / std)

    def show(self, name: str) -> None:
        """Print tau, the errors in deviations with their coverage, and the seconds of a fit."""
        for n in SIZES:
            errors = np.concatenate(self.errors[n])
            inside = [np.mean(np.abs(errors) < limit) for limit in (1, 1.96)]
            print(
                f"{name:24s} {n:4d}  tau {np.mean(self.tau[n]):.3f} +- {np.std(self.tau[n]):.3f}  "
                f"errors in deviations {np.sqrt(np.mean(errors**2)):.2f}, inside 1 and 1.96: "
                f"{inside[0]:.0%} {inside[1]:.0%}  fit {np.mean(self.seconds[n]):.2f} s",
                flush=True,
            )


def main() -> None:
    """Run the parts that the options name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--images")
    parser.add_argument("--shared")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--n-images", type=int, default=8000)
    parser.add_argument("--supernet-epochs", type=int, help="20 for --images, 40 for --shared")
    parser.add_argument("--sandwich", action="store_true")
    options = parser.parse_args()
    if options.table:
        learn_from_labels(options.table, options.repetitions, options.scores)
    if options.images:
        judge_by_training(options)
    if options.shared:
        judge_shared_weights(options)


def learn_from_labels(table: Path, repetitions: int, scores: Path | None) -> None:
    """Print the figures for random and chosen labels, then for scores where there are any."""
    samples = read_bench(table)
    archs = [sample.arch for sample in samples]
    top1 = np.array([sample.top1 for sample in samples])
    print("bars", ", ".join(f"{n}: {bar:.2f}" for n, bar in zip(SIZES, BARS, strict=True)))
    for name, count in (("params", count_params), ("MAdds", count_macs)):
        print(f"{name} alone: tau {kendalltau([count(a) for a in archs], top1).statistic:.3f}")
    random, chosen = Figures(), Figures()
    for repetition in range(repetitions):
        order = np.random.default_rng(repetition).permutation(len(archs))
        rest, pool = order[:N_TEST], order[N_TEST:]
        telling = pool[choose([archs[row] for row in pool], max(SIZES))]
        for n in SIZES:
            random.add(archs, top1, pool[:n], rest, None)
            chosen.add(archs, top1, telling[:n], rest, None)
    random.show("random labels")
    chosen.show("chosen labels")
    if scores:
        _show_scores(archs, top1, pd.read_csv(scores).dropna(), repetitions)


def judge_by_training(options: argparse.Namespace) -> None:
    """Judge guided and a supernet by networks that are trained alone, with `nas.fidelity`."""
    recipe = {"epochs": options.epochs, "n_images": options.n_images}
    words = [*_trained(options.images, "small_images", options.n, recipe), "n_band=20"]
    learned = _fidelity("guided", [*words, "proxy.n_train=20"], "guided")
    tau = learned["all"]["scores"]["guided"]["kendall"]["value"]
    repeatability = learned["all"]["repeatability"]
    between, reachable = (
        repeatability["kendall"]["value"],
        repeatability["reachable_kendall"]["value"],
    )
    print(
        f"guided, 20 labels: tau {tau:.3f}; between trainings {between:.3f}, share "
        f"{tau / between:.2f} (bar 0.90); to be reached {reachable:.3f}, share "
        f"{tau / reachable:.2f}"
    )
    _show_supernet("supernet", [*words, *_supernet(options, 20)])


def judge_shared_weights(options: argparse.Namespace) -> None:
    """Judge a supernet of fixed widths by networks that are trained alone, with `nas.fidelity`."""
    words = _trained(options.shared, "small_images_shared", options.n, SHARED)
    words += ["n_band=5", "data.validation=0.2"]
    _show_supernet("shared", [*words, *_supernet(options, 40)])


def _trained(images: str, space: str, n: int, recipe: Mapping[str, float]) -> list[str]:
    name, _, path = images.partition(":")
    return [
        f"space={space}",
        "+hardware=pixel_cpu",
        f"data={name}",
        *([f"data.path={path}"] if path else []),
        f"n={n}",
        "repeats=2",
        *(f"truth.recipe.{key}={value}" for key, value in recipe.items()),
    ]


def _show_supernet(name: str, words: Sequence[str]) -> None:
    shared = _fidelity("supernet", words, name)
    for place, bar in (("all", 0.7), ("band", 0.4)):
        taus = {
            who: figures["kendall"]["value"] for who, figures in shared[place]["scores"].items()
        }
        print(f"{name}, {place} (bar {bar}):", taus)


def _supernet(options: argparse.Namespace, epochs: int) -> list[str]:
    recipe = {
        "epochs": options.supernet_epochs or epochs,
        "resolution": 16,
        "batch_size": 64,
        "augment": "false",
    }
    steps = ["proxy.is_bare=false", "proxy.n_random=2"] if options.sandwich else []
    words = [f"proxy.recipe.{key}={value}" for key, value in recipe.items()]
    return [*words, *steps, "proxy.n_validation=null"]


def _fidelity(proxy: str, words: Sequence[str], name: str) -> dict[str, Any]:
    folder = f"runs/fidelity/benchmark_{name}"
    command = [sys.executable, "-m", "nas.fidelity", f"proxy={proxy}", *words]
    subprocess.run([*command, f"hydra.run.dir={folder}"], check=True)
    found: dict[str, Any] = json.loads(Path(folder, "fidelity.json").read_text(encoding="utf-8"))
    return found


def _show_scores(archs: Sequence[Arch], top1: Array, table: pd.DataFrame, repetitions: int) -> None:
    kept = [archs[row] for row in table["row"]]
    labels = top1[table["row"].to_numpy()]
    names = [name for name in table if name not in ("row", "macs", "params")]
    print(f"{len(kept)} networks with scores; labels at random")
    sets: list[list[str]] = [[], *([str(name)] for name in names), [str(name) for name in names]]
    for used in sets:
        figures = Figures()
        values = np.log(table[used].to_numpy(dtype=np.float64)) if used else None
        for repetition in range(repetitions):
            order = np.random.default_rng(repetition).permutation(len(kept))
            for n in SIZES:
                figures.add(kept, labels, order[:n], order[n:], values)
        figures.show("with all scores" if len(used) > 1 else f"with {' '.join(used) or 'none'}")


if __name__ == "__main__":
    main()
