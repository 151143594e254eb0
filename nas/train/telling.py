"""What a training of a sweep tells whoever shows the sweep, as JSON can write it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import monotonic
from typing import Any

from nas.training.full.watching import EpochRow, Watch
from nas.workers.contract import Ask

TOLD_SECONDS = 1.0
"""Between two steps that are told: each costs both sides a fraction of a millisecond."""


@contextmanager
def telling(ask: Ask) -> Iterator[Watch]:
    """Tell of a training while it goes on, in messages that `hear` understands."""
    told = -TOLD_SECONDS

    def on_step(what: str, done: int, total: int) -> None:
        nonlocal told
        if done == total or monotonic() - told >= TOLD_SECONDS:
            told = monotonic()
            ask({"done": done, "total": total})

    def on_epoch(row: EpochRow, n_epochs: int) -> None:
        ask({"epoch": asdict(row), "n_epochs": n_epochs})

    yield Watch(on_step=on_step, on_epoch=on_epoch, say=lambda text: ask({"said": text}))


def hear(message: dict[str, Any], watch: Watch) -> None:
    """Hand a message of `telling` on to a watch."""
    if "epoch" in message:
        watch.on_epoch(EpochRow(**message["epoch"]), message["n_epochs"])
    elif "said" in message:
        watch.say(message["said"])
    else:
        watch.on_step("training", message["done"], message["total"])
