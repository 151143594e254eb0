"""Train a network in full: `python -m nas.train arch=mobilenet_v3_small data=cifar10 recipe=quick`.

Weights, metrics and all that it takes to go on are kept in the run folder; the same command with
the same `hydra.run.dir=` goes on. With --multirun and several networks a table compares them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.markup import escape

from nas.chosen_data import load_data
from nas.commands import command, settings
from nas.cost import count_macs
from nas.errors import NasError
from nas.latency.hardware_tables import chosen_table
from nas.paths import names
from nas.train.jobs import arch_of, job_of, place_of
from nas.train.settings import TrainSettings
from nas.train.showing import console, final_line, watching
from nas.training.full.folder import TrainingFolder
from nas.training.full.launch import is_launched, make_fabric, run_training
from nas.training.full.recipe import FullRecipe


@command("train")
def main(cfg: DictConfig) -> None:
    """Train the network that the config describes."""
    options = settings(cfg, TrainSettings)
    options.check()
    recipe = FullRecipe.of(options.recipe)
    _check_folder()
    fabric = make_fabric(place_of(options))
    arch, table = arch_of(options), chosen_table(options.hardware, options.table)
    table_ms = None if arch is None or table is None else table.predict_ms(arch)
    shown = console()
    data: Any = load_data(_required_data(options), shown)
    folder = TrainingFolder(Path(HydraConfig.get().runtime.output_dir))
    job = job_of(options, recipe, arch, data, folder)
    folder.check_same_training(job.identity)
    metrics = run_training(fabric, job, watching)
    if is_launched() and os.environ["RANK"] != "0":
        return
    macs = None if job.arch is None else count_macs(job.arch)
    more = {"macs": macs, "table_ms": table_ms, "seed": options.seed, "options": _options()}
    folder.write_metrics({**metrics, **more, "training": _digest(job.identity)})
    shown.print(final_line(metrics))
    shown.print(f"weights  {escape(str(folder.best))}")


def _check_folder() -> None:
    config = HydraConfig.get()
    own = "hydra.sweep.dir" if config.mode == RunMode.MULTIRUN else "hydra.run.dir"
    if is_launched() and not any(word.startswith(own) for word in config.overrides.hydra):
        raise NasError(
            f"the processes that torchrun starts must share a folder. Add {own}=runs/train/<name>."
        )


def _options() -> str:
    """Return what the command line says beside the network, the data and the seed."""
    left_out = ("arch=", "model=", "data=", "seed=")
    words = HydraConfig.get().overrides.task
    return " ".join(word for word in words if not word.lstrip("+").startswith(left_out))


def _digest(identity: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that trainings share which differ in the seed alone."""
    text = json.dumps({**identity, "seed": None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _required_data(options: TrainSettings) -> dict[str, Any]:
    if options.data is None:
        choices = ", ".join(names("conf/data", ".yaml"))
        raise NasError(f"data must be chosen: data=<name>. Known: {choices}.")
    return options.data


if __name__ == "__main__":
    main()
