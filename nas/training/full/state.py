"""The state of a training in full on disk: one file, whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.errors import NasError
from nas.network.checkpoint import prefixed, read_tensors, under, write_tensors
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
            self.network.load_state_dict(under(_WEIGHTS, tensors))
            restore_optimizer(self.optimizer, under(_OPTIMIZER, tensors))
            if self.average is not None:
                self.average.network.load_state_dict(under(_AVERAGE, tensors))
            self.scaler.load_state_dict(json.loads(facts["scaler"]))
            return _progress(json.loads(facts["progress"]))
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NasError(
                f"{path} must be the state of this training, but cannot be read: {reason}. Delete "
                "it to train anew, or choose another hydra.run.dir=."
            ) from error


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that share no memory, as the file format asks."""
    with torch.no_grad():
        return {name: one.detach().cpu().clone().contiguous() for name, one in tensors.items()}


def _progress(content: dict[str, Any]) -> Progress:
    rows = [EpochRow(**row) for row in content.pop("rows")]
    return Progress(rows=rows, **content)
