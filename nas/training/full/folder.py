"""The run folder of a training in full."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from nas.errors import NasError
from nas.results import environment, first_difference, make_run_folder
from nas.text import mapping, read_json, write_text
from nas.training.full.watching import EpochRow


class TrainingFolder:
    """Names and writes the files of one training; a folder that exists is continued.

    Raises:
        NasError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.state = path / "state.safetensors"
        self.epochs = path / "metrics.csv"
        self.metrics = path / "metrics.json"
        self.environment = path / "environment.json"
        self.tensorboard = path / "tensorboard"
        make_run_folder(path)

    def check_same_training(self, identity: Mapping[str, Any]) -> None:
        """Refuse to go on with another training's folder, and note what this one is.

        Raises:
            NasError: the folder's training had another network, data, recipe, seed ...
        """
        identity = json.loads(json.dumps(identity))
        if self.environment.exists():
            content = read_json(self.environment)
            before = mapping(content.get("training"), f"training of {self.environment}")
            for name in sorted({*before, *identity}):
                if before.get(name) != identity.get(name):
                    was, now = first_difference(before.get(name), identity.get(name))
                    raise NasError(
                        f"{self.path} holds a training with {name} {was}, not {now}. Give the same "
                        "options to continue it, or another hydra.run.dir=."
                    )
        elif self.state.exists():
            raise NasError(
                f"{self.path} has a state.safetensors but no environment.json, so its training "
                "cannot be continued. Choose another hydra.run.dir=."
            )
        else:
            text = json.dumps({**environment(), "training": identity}, indent=2)
            write_text(self.environment, text + "\n")

    def write_epochs(self, rows: Iterable[EpochRow]) -> None:
        """Write metrics.csv, a line an epoch."""
        text = io.StringIO()
        names = [field.name for field in fields(EpochRow)]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = {name: f"{value:.6g}" for name, value in asdict(row).items()}
            writer.writerow(values)
        write_text(self.epochs, text.getvalue())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, the end of the training."""
        write_text(self.metrics, json.dumps(metrics, indent=2) + "\n")
