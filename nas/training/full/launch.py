"""Start the processes of a training in full, one a device, by Lightning Fabric."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from nas.errors import NasError, unknown
from nas.extras import require
from nas.training.batches import device_named
from nas.training.conditions import TrainingError
from nas.training.full.job import PRECISIONS, Place, TrainingJob
from nas.training.full.watching import Watching
from nas.training.full.work import work
from nas.training.optimizers import mixed_precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

EXTRA = "train"
_AUTOMATIC = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def is_launched() -> bool:
    """Tell whether torchrun started this process, as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def run_training(fabric: "Fabric", job: TrainingJob, watching: Watching) -> dict[str, Any]:
    """Train a job on the devices of `fabric` and return what metrics.json holds.

    Raises:
        NasError: as `nas.training.full.work.work` does, in whichever process.
    """
    if fabric.world_size == 1 or is_launched():
        found: dict[str, Any] = fabric.launch(partial(work, job=job, watching=watching))
        return found
    failures = multiprocessing.get_context("spawn").SimpleQueue()
    with _ended_with_this():
        try:
            # Bound, as fabric would look for modules in arguments and change what holds them.
            noting = partial(_work_noting, job=job, watching=watching, failures=failures)
            found = fabric.launch(noting)
        except ProcessRaisedException as error:
            if failures.empty():
                raise
            raise TrainingError(failures.get()) from error
    return found


def _work_noting(
    fabric: "Fabric", job: TrainingJob, watching: Watching, failures: Any
) -> dict[str, Any]:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Of an error in another process only the traceback comes back.
    try:
        return work(fabric, job, watching)
    except NasError as error:
        failures.put(str(error))
        raise


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one; nobody else would end it then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _ended_with_this() -> Iterator[None]:
    """End the processes that were started inside when this one is interrupted."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except KeyboardInterrupt:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise


def make_fabric(place: Place) -> "Fabric":
    """Return Fabric for a place.

    Raises:
        NasError: the package is missing, or the device or the precision is not there.
    """
    fabric = require("lightning_fabric", EXTRA)
    for name in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    device = device_named(place.device)
    precision = place.precision or _AUTOMATIC[mixed_precision(device)]
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "fp16" and device.type == "cpu":
        raise NasError("precision=fp16 needs a GPU, but the device is a CPU. Choose bf16 or fp32.")
    options: dict[str, Any] = {"devices": place.n_devices, "strategy": "auto"}
    if is_launched():
        local, every = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        options = {"devices": local, "num_nodes": every // local, "strategy": _parallel("popen")}
    elif place.n_devices > 1:
        _check_devices(place, device)
        options["strategy"] = _parallel("spawn")
    elif device.index is not None:
        options["devices"] = [device.index]
    made: Fabric = fabric.Fabric(
        accelerator=device.type, precision=PRECISIONS[precision], **options
    )
    return made


def _parallel(start_method: str) -> Any:
    """Return the strategy that averages gradients; running statistics wait for a pause."""
    strategies = require("lightning_fabric.strategies", EXTRA)
    return strategies.DDPStrategy(start_method=start_method, broadcast_buffers=False)


def _check_devices(place: Place, device: torch.device) -> None:
    if device.index is not None:
        raise NasError(
            f"device={place.device} is one device, but devices is {place.n_devices}. Give "
            f"device={device.type}."
        )
    n_there = torch.cuda.device_count() if device.type == "cuda" else place.n_devices
    if n_there < place.n_devices:
        raise NasError(f"devices must be at most {n_there}, as many as there are GPUs.")
