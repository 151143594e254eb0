"""Train a network in full: `python -m nas.train arch=mobilenet_v3_small data=cifar10 recipe=quick`.

Weights, metrics and all that it takes to go on are kept in the run folder; the same command with
the same `hydra.run.dir=` goes on. With --multirun and several networks, `workers=` trains them
beside each other, and a table compares them.
"""

from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.markup import escape

from nas.chosen_data import load_data
from nas.commands import command, settings
from nas.errors import NasError
from nas.train.settings import TrainSettings
from nas.train.showing import console, final_line, watching
from nas.train.sweep import Wanted, train_sweep
from nas.train.training import is_first, prepared, train
from nas.training.full.launch import is_launched

_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@command("train", together=train_sweep)
def main(cfg: DictConfig) -> Wanted | None:
    """Train the network that the config describes; of a sweep, only say which one that is."""
    _check_folder()
    wanted = _wanted(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return wanted
    _check_workers(wanted.names["workers"])
    shown = console()
    options, read = settings(cfg, TrainSettings), partial(load_data, console=shown)
    training = prepared(options, wanted.folder, wanted.words, read)
    metrics = train(training, watching)
    if is_first():
        shown.print(final_line(metrics))
        shown.print(f"weights  {escape(str(training.job.folder.best))}")
    return None


def _wanted(cfg: DictConfig) -> Wanted:
    config = HydraConfig.get()
    return Wanted(
        cfg=cfg,
        folder=Path(config.runtime.output_dir),
        sweep_folder=Path(config.sweep.dir),
        words=tuple(config.overrides.task),
        names={group: str(config.runtime.choices.get(group)) for group in ("data", "workers")},
    )


def _check_folder() -> None:
    config = HydraConfig.get()
    is_sweep = config.mode == RunMode.MULTIRUN
    own = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    if is_launched() and not any(word.startswith(own) for word in config.overrides.hydra):
        raise NasError(
            f"the processes that torchrun starts must share a folder. Add {own}=runs/train/<name>."
        )
    if is_sweep and config.launcher["_target_"] != _LAUNCHER:
        raise NasError("hydra/launcher must be left alone. Say by workers= who trains a sweep.")


def _check_workers(name: str) -> None:
    if name not in ("auto", "local"):
        raise NasError(
            f"workers={name} is for several trainings: add --multirun, with options such as "
            "seed=0,1,2. One is trained by this process; leave workers= out."
        )


if __name__ == "__main__":
    main()
