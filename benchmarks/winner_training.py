"""Winners beside MobileNetV3, trained alike: `python benchmarks/winner_training.py`.

Searches for a phone as the README's first command does (`--search <folder>`: takes the winners of a
run that exists), trains both winners and the two networks whose latency they were given to meet by
one recipe from each seed, and prints the test accuracies, their mean and spread, and by how much
the winner is ahead, seed by seed. With the defaults, Fashion-MNIST at 32 pixels, that is 12
trainings in an hour and a half of one core; stopped, the same command goes on.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from nas.arch import Arch
from nas.latency.table import LatencyTable

PAIRS = {"large": "mobilenet_v3_large", "small": "mobilenet_v3_small"}


def main() -> None:
    """Search, train every network from every seed, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--search", type=Path)
    parser.add_argument("--hardware", default="pixel_cpu")
    parser.add_argument("--folder", type=Path, default=Path("runs/winner_training"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--train",
        nargs="+",
        default=[
            "data=fashion_mnist",
            "recipe=quick",
            "recipe.epochs=6",
            "recipe.n_images=20000",
            "resolution=32",
            "threads=1",
        ],
        help="options of nas.train",
    )
    options = parser.parse_args()
    search = options.search or _search(options.hardware, options.folder / "search")
    table = LatencyTable.load(options.hardware)
    print(f"nas.train {' '.join(options.train)}", flush=True)
    for study, baseline in PAIRS.items():
        top1 = {
            name: [_trained(name, seed, options) for seed in options.seeds]
            for name in (str(search / "winners" / f"{study}.yaml"), baseline)
        }
        for name, found in top1.items():
            ms = table.predict_ms(Arch.load(name))
            every = " ".join(f"{one:.2f}" for one in found)
            print(f"{Path(name).stem:20s} {ms:6.2f} ms  {_mean_and_spread(found)}  ({every})")
        winner, reference = map(np.array, top1.values())
        print(f"{study}: the winner is ahead by {_mean_and_spread(winner - reference)}", flush=True)


def _search(hardware: str, folder: Path) -> Path:
    _run("nas.search", f"+hardware={hardware}", f"hydra.run.dir={folder}")
    return folder


def _trained(name: str, seed: int, options: argparse.Namespace) -> float:
    """Return the test top-1 in percent of a network that is trained from a seed."""
    folder = options.folder / f"{Path(name).stem}_{seed}"
    if not (folder / "metrics.json").exists():
        words = (f"arch={name}", f"seed={seed}", f"hydra.run.dir={folder}", *options.train)
        _run("nas.train", *words)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(metrics["top1"])


def _run(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True)


def _mean_and_spread(values: "list[float] | np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.2f} +- {spread:.2f} %"


if __name__ == "__main__":
    main()
