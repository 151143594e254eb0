"""What a search finds for its trainings: `python benchmarks/proxy_search.py`.

Three ways to look for the most accurate network of `small_images` within half of its latencies, on
Fashion-MNIST (`--images cifar10:<folder>`: on CIFAR-10 in parquet files): `proxy=guided` and
`proxy=short_train` with `--n-train` trainings each, and random search with twice as many. What each
finds is then trained alone, on twice as many images and from other seeds, and the means are
compared seed by seed. With 20 trainings that makes 80 of each seed, and 9 longer ones; every
training is kept under `runs/trained`, so that several processes may share the seeds
(`--seeds 0 1`), and a last one with all of them prints the whole at once.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import BaseSampler, TPESampler

from nas.arch import Arch
from nas.data import fashion_mnist, hub
from nas.data.images import ImageData
from nas.latency.table import LatencyTable
from nas.objective import Constraint
from nas.paths import SHIPPED
from nas.proxies.guided.proxy import Guided
from nas.proxies.short_train import ShortTrain
from nas.search.evolution import RegularizedEvolution
from nas.search.journal import Journal
from nas.search.records import Proxy, Target
from nas.search.study import TargetSearch
from nas.space import SearchSpace
from nas.text import read_yaml
from nas.training.recipe import Recipe

RISK = 0.25
N_EVALUATIONS = 4000
FINAL_SEEDS = (1001, 1002, 1003)
FINAL_IMAGES = 2
"""So many times as many images has the training that judges what was found."""


def main() -> None:
    """Search in three ways from each seed, and print what was found and what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default="fashion_mnist")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--n-images", type=int, default=5000)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--n-train", type=int, default=20)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, table = SearchSpace.load("small_images"), LatencyTable.load("pixel_cpu")
    shipped = Recipe(**read_yaml(SHIPPED / "conf/proxy/short_train.yaml")["recipe"])
    recipe = replace(shipped, epochs=options.epochs, n_images=options.n_images)
    data = _images(options.images)
    trainer = ShortTrain(data, recipe)
    judge = ShortTrain(
        data,
        replace(recipe, n_images=FINAL_IMAGES * options.n_images),
        seed=FINAL_SEEDS[0],
        repeats=len(FINAL_SEEDS),
    )
    randoms = [space.random(seed) for seed in range(1000)]
    target_ms = float(np.median(table.predict_many_ms(randoms)))
    print(f"{space.name}: at most {target_ms:.3f} ms on {table.name}; {recipe}", flush=True)
    final: dict[str, list[float]] = {}
    for seed in options.seeds:
        found = _searches(space, table, trainer, target_ms, options.n_train, seed)
        for name, arch in found.items():
            top1 = float(judge.predict([arch])[0][0])
            final.setdefault(name, []).append(top1)
            print(
                f"seed {seed}  {name:12s} {top1:.2f} %, {table.predict_ms(arch):.3f} ms", flush=True
            )
    _show(final, options.n_train, _seconds(trainer))


def _images(words: str) -> ImageData:
    name, _, path = words.partition(":")
    return hub.load(path=path, name=name) if path else fashion_mnist.load()


def _searches(
    space: SearchSpace,
    table: LatencyTable,
    trainer: ShortTrain,
    target_ms: float,
    n_train: int,
    seed: int,
) -> dict[str, Arch]:
    target = Target(
        name=space.name,
        space=space,
        target_ms=target_ms,
        objective=Constraint(),
        n_trials=n_train,
    )
    guided = Guided(n_train=n_train, seed=seed, trainer=trainer)
    guided.prepare([target], table, lambda what, done, total: None)
    asked = replace(target, n_trials=N_EVALUATIONS, risk=RISK)
    return {
        "guided": _winner(asked, table, guided, RegularizedEvolution(seed=seed)),
        "short_train": _winner(target, table, trainer, TPESampler(n_startup_trials=10, seed=seed)),
        "random": _best_of_random(space, table, trainer, target_ms, 2 * n_train, seed),
    }


def _winner(target: Target, table: LatencyTable, proxy: Proxy, sampler: BaseSampler) -> Arch:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "study.journal")
        search = TargetSearch(
            target=target,
            table=table,
            proxy=proxy,
            storage=journal,
            make_sampler=lambda _: sampler,
            sampler_name=type(sampler).__name__,
        )
        for _ in search.run():
            pass
        journal.close()
    if search.winner is None:
        raise SystemExit(f"{sampler} found no network within {target.target_ms:.3f} ms")
    return search.named_arch(search.winner, target.name)


def _best_of_random(
    space: SearchSpace,
    table: LatencyTable,
    trainer: ShortTrain,
    target_ms: float,
    n: int,
    seed: int,
) -> Arch:
    """Return the best of n random networks, all of them within the target."""
    rng = np.random.default_rng(seed)
    drawn = (space.random(rng) for _ in range(100 * n))
    within = list(islice((arch for arch in drawn if table.predict_ms(arch) <= target_ms), n))
    return within[int(np.argmax(trainer.predict(within)[0]))]


def _seconds(trainer: ShortTrain) -> float:
    """Return what a training took, in the median of all in the store."""
    digest = trainer.recipe.digest()
    return float(
        np.median([one.seconds for one in trainer.results.every() if one.name.recipe == digest])
    )


def _show(final: Mapping[str, list[float]], n_train: int, seconds: float) -> None:
    trainings = {"guided": n_train, "short_train": n_train, "random": 2 * n_train}
    for name, top1 in final.items():
        cost = trainings[name] * seconds
        ahead = np.array(final["guided"]) - top1
        print(
            f"{name:12s} {trainings[name]} trainings, {cost:.0f} s: top-1 {np.mean(top1):.2f} "
            f"+- {np.std(top1, ddof=1) if len(top1) > 1 else 0:.2f} %; guided is ahead by "
            f"{ahead.mean():+.2f}, in {int((ahead >= 0).sum())} of {len(ahead)} seeds"
        )


if __name__ == "__main__":
    main()
