"""The state of a training in full on disk: one file, whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.errors import NasError, shown
from nas.network.checkpoint import prefixed, under, write_tensors
from nas.network.tensor_file import read_tensors
from nas.text import check_keys, is_number, mapping, parse_json
from nas.training.full.averaging import Average
from nas.training.full.watching import EpochRow
from nas.training.optimizer_state import optimizer_tensors, restore_optimizer

VERSION = "1"
_WEIGHTS, _AVERAGE, _OPTIMIZER = "weights.", "average.", "optimizer."


@dataclass(kw_only=True)
class Progress:
    """How far a training is.

    n_steps: steps done. loss: the sum over those of the epoch that has begun. seconds,
    data_seconds: of its training so far. rows: the epochs done. best_top1, best_epoch: the best
    of them.
    """

    n_steps: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    data_seconds: float = 0.0
    rows: list[EpochRow] = field(default_factory=list)
    best_top1: float = -1.0
    best_epoch: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """All that a step changes: weights, their average, the optimizer, a scaler of gradients.

    `scaler` has `state_dict` and `load_state_dict`, of numbers alone. Random numbers and the
    learning rate need no state: they follow from the seed and the number of steps.
    """

    network: nn.Module
    optimizer: Optimizer
    average: Average | None
    scaler: Any

    @property
    def judged(self) -> nn.Module:
        """Return the network that is judged and kept: the average, where there is one."""
        return self.network if self.average is None else self.average.network

    def save(self, path: Path, progress: Progress) -> None:
        """Replace the file; an interrupted write leaves the old one.

        Raises:
            NasError: the folder is not writable, or the disk is full.
        """
        tensors = prefixed(_WEIGHTS, self.network.state_dict())
        tensors |= prefixed(_OPTIMIZER, optimizer_tensors(self.optimizer))
        if self.average is not None:
            tensors |= prefixed(_AVERAGE, self.average.network.state_dict())
        facts = {
            "version": VERSION,
            "progress": json.dumps(asdict(progress)),
            "scaler": json.dumps(self.scaler.state_dict()),
        }
        write_tensors(path, on_cpu(tensors), facts)

    def load(self, path: Path) -> Progress:
        """Fill in what the file holds; without one, begin.

        Raises:
            NasError: the file is damaged, or of another network.
        """
        if not path.exists():
            return Progress()
        try:
            tensors, facts = read_tensors(path)
            if facts.get("version") != VERSION:
                raise KeyError(f"version {VERSION}")
            # What is wrong with the progress is found before anything is filled in.
            progress = _progress(parse_json(facts["progress"], "progress"))
            self.network.load_state_dict(under(_WEIGHTS, tensors))
            restore_optimizer(self.optimizer, under(_OPTIMIZER, tensors))
            if self.average is not None:
                self.average.network.load_state_dict(under(_AVERAGE, tensors))
            self.scaler.load_state_dict(mapping(parse_json(facts["scaler"], "scaler"), "scaler"))
            return progress
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NasError(
                f"{path} must be the state of this training, but cannot be read: {reason}. Delete "
                "it to train anew, or choose another hydra.run.dir=."
            ) from error


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that share no memory, as the file format asks."""
    with torch.no_grad():
        return {name: one.detach().cpu().clone().contiguous() for name, one in tensors.items()}


def _progress(content: object) -> Progress:
    found = mapping(content, "progress")
    check_keys(found, "progress", [one.name for one in fields(Progress)])
    if not isinstance(found["rows"], list):
        raise NasError(f"rows must be a list, but are {shown(found['rows'])}.")
    rows = [EpochRow(**_figures(row, EpochRow, "a row")) for row in found.pop("rows")]
    progress = Progress(rows=rows, **_figures(found, Progress, "progress"))
    if progress.n_steps < 0 or not 0 <= progress.best_epoch <= len(rows):
        raise NasError(f"{progress.n_steps} steps with epoch {progress.best_epoch} as the best.")
    return progress


def _figures(content: object, kind: type, where: str) -> dict[str, Any]:
    """Return the numbers of a record, whole ones where it wants them."""
    found = mapping(content, where)
    for one in fields(kind):
        if one.name in found and not (
            is_number(found[one.name]) and (one.type is not int or type(found[one.name]) is int)
        ):
            raise NasError(f"{one.name} of {where} is {shown(found[one.name])}.")
    return found
