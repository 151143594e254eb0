"""What a training in full tells while it goes on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from nas.steps import OnStep


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """An epoch: a line of metrics.csv.

    epoch: from 1. loss: the mean over its steps. top1, top5: of the validation part after it, in
    percent. seconds: of its training and validation. images_per_second: of its training.
    data_percent: share of the training time in which the device waited for its batches.
    """

    epoch: int
    learning_rate: float
    loss: float
    top1: float
    top5: float
    seconds: float
    images_per_second: float
    data_percent: float


def _nothing_of(what: str, done: int, total: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told: of steps, of epochs (with how many there are in all), and of what is said."""

    on_step: OnStep = _nothing_of
    on_epoch: Callable[[EpochRow, int], None] = lambda row, n_epochs: None
    say: Callable[[str], None] = lambda text: None


Watching = Callable[[], AbstractContextManager[Watch]]
"""What makes a watch in the process that trains: a function that other processes can import."""
