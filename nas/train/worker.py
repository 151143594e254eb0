"""The work of training in full, made wherever a worker runs."""

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from nas.errors import NasError
from nas.train.settings import TrainSettings
from nas.train.telling import telling
from nas.train.training import prepared, train
from nas.workers.contract import Ask, Work
from nas.workers.judge import same_data


def training(options: Mapping[str, Any]) -> Work:
    """Make the work: each job is what `Training.plain` wrote, and becomes its metrics."""
    with suppress(OSError):  # paths in the config are relative to it; another machine may lack it
        os.chdir(options["folder"])
    kept: dict[str, Any] = {}  # the images of the last job, which are mostly those of the next

    def read(digest: str, node: Mapping[str, Any]) -> Any:
        name = json.dumps([node, digest])
        if name not in kept:
            kept.clear()
            kept[name] = same_data(node, digest)
        return kept[name]

    def work(plain: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
        folder = _shared(Path(plain["folder"]))
        settings = TrainSettings(**plain["settings"])
        wanted = prepared(settings, folder, tuple(plain["words"]), partial(read, plain["digest"]))
        return train(wanted, partial(telling, ask))

    return work


def _shared(folder: Path) -> Path:
    # What is trained into a folder of another machine, nobody would find.
    if not folder.is_dir():
        raise NasError(
            f"{folder} must be a folder that all workers share with the command, but is not there "
            f"on {platform.node()}. Give a hydra.sweep.dir= that is, or use workers=processes."
        )
    return folder
