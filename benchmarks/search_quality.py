"""How near the default search comes to the best: `python benchmarks/search_quality.py`.

For each target, the best reward of 10 seeds of the default search, each as a share of the best
reward that any sampler here reaches with 50,000 evaluations. Takes about half an hour.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import optuna
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler

from nas.arch import Arch
from nas.latency.table import LatencyTable
from nas.objective import Reward
from nas.paths import SHIPPED
from nas.search.evolution import RegularizedEvolution
from nas.search.journal import Journal
from nas.search.records import Proxy, Target
from nas.search.study import TargetSearch
from nas.space import SearchSpace

EXPONENTS = {"large": -0.07, "small": -0.15}


def best_reward(
    name: str,
    table: LatencyTable,
    proxy: Proxy,
    make_sampler: Callable[[int], BaseSampler],
    n_trials: int,
    risk: float,
) -> float:
    """Return the best reward of one search of a target, started as the command starts it."""
    space = SearchSpace.load(f"mobilenet_v3_{name}")
    reference = Arch.load(f"mobilenet_v3_{name}")
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "study.journal")
        search = TargetSearch(
            target=Target(
                name=name,
                space=space,
                target_ms=table.predict_ms(reference),
                objective=Reward(exponent=EXPONENTS[name]),
                n_trials=n_trials,
                risk=risk,
            ),
            table=table,
            proxy=proxy,
            storage=journal,
            make_sampler=make_sampler,
            sampler_name="",
        )
        search.start_from(reference)
        for _ in search.run():
            pass
        journal.close()
    if search.best is None:
        raise RuntimeError(f"no trial of {name} finished")
    return search.best.values[0]


def main() -> None:
    """Print, for each target, the best reward known and the share that each seed reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=50_000)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with initialize_config_dir(str(SHIPPED / "conf"), version_base="1.3"):
        config = compose("search", ["+hardware=pixel_cpu"])
    table = LatencyTable.load(config.hardware.table)
    proxy: Proxy = instantiate({k: v for k, v in config.proxy.items() if k != "risk"})
    for name in EXPONENTS:
        _report(name, table, proxy, config, options.seeds, options.evaluations)


def _report(
    name: str, table: LatencyTable, proxy: Proxy, config: DictConfig, seeds: int, evaluations: int
) -> None:
    long: dict[str, Callable[[int], BaseSampler]] = {
        "evolution": lambda n: RegularizedEvolution(seed=100 + n),
        "wide evolution": lambda n: RegularizedEvolution(
            population_size=512, tournament_size=64, seed=200 + n
        ),
        "random": lambda n: RandomSampler(seed=300 + n),
        # NSGA-II reads its whole past on every trial; a tenth of the evaluations takes as long.
        "nsga2 (a tenth)": lambda n: NSGAIISampler(population_size=100, seed=400 + n),
    }
    best = 0.0
    for label, make_sampler in long.items():
        n_trials = evaluations // 10 if "tenth" in label else evaluations
        reward = best_reward(name, table, proxy, make_sampler, n_trials, config.proxy.risk)
        best = max(best, reward)
        print(f"{name}: {label}, {n_trials} evaluations: reward {reward:.4f}", flush=True)
    node = {key: value for key, value in config.sampler.items() if key != "n_trials"}
    shares = []
    for seed in range(seeds):
        reward = best_reward(
            name,
            table,
            proxy,
            lambda n, seed=seed: instantiate({**node, "seed": seed + n}),  # type: ignore[misc]
            config.sampler.n_trials,
            config.proxy.risk,
        )
        shares.append(reward / best)
        print(f"{name}: default search, seed {seed}: {reward:.4f}, {shares[-1]:.2%}", flush=True)
    print(f"{name}: worst seed {min(shares):.2%} of the best known reward {best:.4f}", flush=True)


if __name__ == "__main__":
    main()
