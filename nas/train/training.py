"""One training as the command line wants it: checked, made ready, and done."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cost import count_macs
from nas.errors import NasError
from nas.latency.hardware_tables import chosen_table
from nas.locks import folder_claimed
from nas.paths import names
from nas.train.jobs import arch_of, job_of, place_of
from nas.train.settings import TrainSettings
from nas.training.full.folder import TrainingFolder
from nas.training.full.job import TrainingJob
from nas.training.full.launch import is_launched, make_fabric, run_training
from nas.training.full.recipe import FullRecipe
from nas.training.full.watching import Watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Read = Callable[[Mapping[str, Any]], Any]
"""Returns the `ImageData` that a node of conf/data describes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """A training that is ready to begin; `words` are its own of the command line."""

    settings: TrainSettings
    words: tuple[str, ...]
    table_ms: float | None
    fabric: "Fabric"
    job: TrainingJob

    def plain(self) -> dict[str, Any]:
        """Return what another process makes the same training of, as JSON can write it.

        Raises:
            NasError: an option that JSON cannot write as it is.
        """
        options = {**asdict(self.settings), "workers": {}}
        for name, value in options.items():
            if not _is_plain(value):
                raise NasError(
                    f"{name} must be of text, numbers and lists for other processes to get it. "
                    "Choose workers=local."
                )
        return {
            "settings": options,
            "words": list(self.words),
            "folder": str(self.job.folder.path.absolute()),
            "digest": self.job.data.digest,
        }


def prepared(settings: TrainSettings, folder: Path, words: tuple[str, ...], read: Read) -> Training:
    """Check a training's options, the cheap ones first, and its folder; note there what it is.

    Raises:
        NasError: an option is wrong, or the folder holds another training.
    """
    settings.check()
    recipe = FullRecipe.of(settings.recipe)
    fabric = make_fabric(place_of(settings))
    arch, table = arch_of(settings), chosen_table(settings.hardware, settings.table)
    table_ms = None if arch is None or table is None else table.predict_ms(arch)
    data = read(_required_data(settings))
    job = job_of(settings, recipe, arch, data, TrainingFolder(folder))
    job.folder.check_same_training(job.identity)
    return Training(settings=settings, words=words, table_ms=table_ms, fabric=fabric, job=job)


def train(training: Training, watching: Watching) -> dict[str, Any]:
    """Train, and return what metrics.json then holds.

    Raises:
        NasError: another command is at the folder, or as
            `nas.training.full.launch.run_training` says.
    """
    job = training.job
    with folder_claimed(job.folder.path) if is_first() else nullcontext():
        metrics = run_training(training.fabric, job, watching)
    more = {
        "macs": None if job.arch is None else count_macs(job.arch),
        "table_ms": training.table_ms,
        "seed": job.seed,
        "options": _options(training.words),
        "training": _digest(job.identity),
    }
    metrics = {**metrics, **more}
    if is_first():
        job.folder.write_metrics(metrics)
    return metrics


def is_first() -> bool:
    """Tell whether this process speaks for all that torchrun started."""
    return not is_launched() or os.environ["RANK"] == "0"


def _required_data(settings: TrainSettings) -> dict[str, Any]:
    if settings.data is None:
        choices = ", ".join(names("conf/data", ".yaml"))
        raise NasError(f"data must be chosen: data=<name>. Known: {choices}.")
    return settings.data


def _options(words: tuple[str, ...]) -> str:
    """Return what the command line says beside the network, the data, the seed and the workers."""
    left_out = ("arch=", "model=", "data=", "seed=", "workers=", "workers.")
    return " ".join(word for word in words if not word.lstrip("+").startswith(left_out))


def _digest(identity: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that trainings share which differ in the seed alone."""
    text = json.dumps({**identity, "seed": None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False
