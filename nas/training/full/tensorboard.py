"""The metrics of a training for TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from nas.extras import require
from nas.training.full.folder import TrainingFolder
from nas.training.full.watching import EpochRow, Watch


@contextmanager
def with_tensorboard(watch: Watch, folder: TrainingFolder) -> Iterator[Watch]:
    """Let TensorBoard have the epochs as well.

    Raises:
        NasError: the package is missing.
    """
    writer = require("torch.utils.tensorboard", "tensorboard").SummaryWriter(
        str(folder.tensorboard)
    )

    def on_epoch(row: EpochRow, n_epochs: int) -> None:
        for name, value in asdict(row).items():
            if name != "epoch":
                writer.add_scalar(name, value, row.epoch)
        writer.flush()
        watch.on_epoch(row, n_epochs)

    try:
        yield replace(watch, on_epoch=on_epoch)
    finally:
        writer.close()
