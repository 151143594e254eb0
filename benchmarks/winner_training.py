"""Winners beside MobileNetV3, trained alike: `python benchmarks/winner_training.py [part ...]`.

- `phone`: searches for a phone as the README's first command does (`--search <folder>`: takes the
  winners of a run that exists); both winners beside the two networks whose latency they were given
  to meet.
- `images`: searches for the phone again, with `proxy=guided` on the images that are trained on, for
  the best accuracy within V3-Large's latency.
- `here`: what a user with small images does: measures this machine's table of V3-Small's space at
  32 pixels and 10 classes, and searches there with `proxy=guided` for V3-Small's latency.

Each network is trained by one recipe from each seed; printed are the test accuracies, their mean
and spread, and by how much the winner is ahead, seed by seed. The rate and the images as they are
were chosen on V3-Small alone, by its validation accuracy: shifted images cost a training this short
2.5 points. With the defaults, Fashion-MNIST, that is 18 trainings in full and 64 short ones, about
four hours of one core; stopped, the same command goes on. `here` wants a machine that does nothing
else while it measures.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.paths import SHIPPED

PAIRS = {"large": "mobilenet_v3_large", "small": "mobilenet_v3_small"}
RESOLUTION, N_CLASSES = 32, 10
SHORT = {"n_train": 32, "recipe.resolution": RESOLUTION, "recipe.batch_size": 64}
OF_IMAGES = {"recipe.n_images": 20_000, "recipe.epochs": 3, "recipe.learning_rate": 0.04}
OF_HERE = {"recipe.n_images": 10_000, "recipe.epochs": 4, "recipe.learning_rate": 0.1}
"""The trainings of `proxy=guided`: a half and a third of the images of one in full."""


def main() -> None:
    """Search, train every network from every seed, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--search", type=Path)
    parser.add_argument("--hardware", default="pixel_cpu", help="of phone and images")
    parser.add_argument("--folder", type=Path, default=Path("runs/winner_training"))
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--train",
        nargs="+",
        default=[
            "recipe=quick",
            "recipe.epochs=6",
            "recipe.n_images=20000",
            "recipe.learning_rate=0.04",
            "recipe.crop=none",
            f"resolution={RESOLUTION}",
            "threads=1",
        ],
        help="options of nas.train",
    )
    options = parser.parse_args()
    chosen = options.parts or list(PARTS)
    for name in chosen:
        if name not in PARTS:
            parser.error(f"unknown part {name}: choose from {', '.join(PARTS)}")
    print(f"nas.train data={options.data} {' '.join(options.train)}", flush=True)
    for name in chosen:
        PARTS[name](options)


def phone(options: argparse.Namespace) -> None:
    """Compare the winners of the first command with the networks whose latency they meet."""
    search = options.search or options.folder / "search"
    if options.search is None:
        _run("nas.search", f"+hardware={options.hardware}", f"hydra.run.dir={search}")
    table = LatencyTable.load(options.hardware)
    for study, baseline in PAIRS.items():
        _compare(search / "winners" / f"{study}.yaml", study, baseline, table, options)


def images(options: argparse.Namespace) -> None:
    """Compare the large winner for these images with V3-Large."""
    search = options.folder / "images"
    _run(
        "nas.search",
        f"+hardware={options.hardware}",
        "targets=[large]",
        "objective=constraint",
        *_guided(options.data, OF_IMAGES),
        f"hydra.run.dir={search}",
    )
    table = LatencyTable.load(options.hardware)
    _compare(search / "winners" / "large.yaml", "images", PAIRS["large"], table, options)


def here(options: argparse.Namespace) -> None:
    """Compare the winner for these images and this machine with V3-Small at their size."""
    folder = (options.folder / "here").absolute()
    space, reference, measured = (
        folder / name for name in ("v3.yaml", f"{PAIRS['small']}.yaml", "host.csv")
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write_space(space)
    arch = Arch.load(PAIRS["small"]).scaled(1, RESOLUTION).with_num_classes(N_CLASSES)
    arch.save(reference)
    own = "+hardware=host_cpu", f"table={measured}"
    _run("nas.latency", *own, f"space=[{space}]", f"arch={reference}")
    table = LatencyTable.load(str(measured))
    search = folder / "search"
    _run(
        "nas.search",
        *own,
        f"space={space}",
        f"target_ms={table.predict_ms(arch):.4f}",
        *_guided(options.data, OF_HERE),
        f"hydra.run.dir={search}",
    )
    _compare(search / "winners" / f"{space.stem}.yaml", "here", str(reference), table, options)


def _guided(data: str, recipe: dict[str, float]) -> list[str]:
    proxy = (f"proxy.{name}={value}" for name, value in (SHORT | recipe).items())
    return ["proxy=guided", f"data={data}", *proxy]


def _write_space(path: Path) -> None:
    shipped = SHIPPED / "search_spaces" / f"{PAIRS['small']}.yaml"
    content = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    content |= {"name": path.stem, "reference": None}
    content |= {"resolution": RESOLUTION, "num_classes": N_CLASSES}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _compare(
    winner: Path, name: str, baseline: str, table: LatencyTable, options: argparse.Namespace
) -> None:
    top1 = {
        arch: [_trained(arch, short, seed, options) for seed in options.seeds]
        for arch, short in ((str(winner), name), (baseline, Path(baseline).stem))
    }
    for arch, found in top1.items():
        ms = table.predict_ms(Arch.load(arch))
        every = " ".join(f"{one:.2f}" for one in found)
        print(f"{Path(arch).stem:20s} {ms:6.3f} ms  {_mean_and_spread(found)}  ({every})")
    own, others = map(np.array, top1.values())
    print(f"{name}: the winner is ahead by {_mean_and_spread(own - others)}", flush=True)


def _trained(arch: str, name: str, seed: int, options: argparse.Namespace) -> float:
    """Return the test top-1 in percent of a network that is trained from a seed."""
    folder = options.folder / f"{name}_{seed}"
    if not (folder / "metrics.json").exists():
        words = (f"arch={arch}", f"seed={seed}", f"hydra.run.dir={folder}", *options.train)
        _run("nas.train", f"data={options.data}", *words)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(metrics["top1"])


def _run(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True)


def _mean_and_spread(values: "list[float] | np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.2f} +- {spread:.2f} %"


PARTS = {"phone": phone, "images": images, "here": here}


if __name__ == "__main__":
    main()
