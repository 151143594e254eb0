"""Train a job in one of its processes, from the first weight to the last figure."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nas.errors import NasError
from nas.network.checkpoint import Checkpoint, write_tensors
from nas.network.depthwise import quicken
from nas.network.tensor_file import UnreadableError, read_tensors
from nas.training.batches import input_channels
from nas.training.conditions import (
    keep_freed_memory,
    memory_errors,
    quick_norms,
    seeded,
    training_threads,
)
from nas.training.full.averaging import Average
from nas.training.full.evaluation import evaluate
from nas.training.full.feed import Feed
from nas.training.full.inference import inference_ms
from nas.training.full.job import Distillation, TrainingJob
from nas.training.full.loop import FullTraining
from nas.training.full.losses import Teacher
from nas.training.full.networks import check_answers, start_from, trained_teacher
from nas.training.full.optimizers import make_optimizer
from nas.training.full.state import Learner, Progress, on_cpu
from nas.training.full.tensorboard import with_tensorboard
from nas.training.full.watching import Watch, Watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MODULE_VERSION = "module-1"
"""Of a file with weights of a network that no arch describes."""


def work(fabric: "Fabric", job: TrainingJob, watching: Watching) -> dict[str, Any]:
    """Train and return what metrics.json holds; every process of `fabric` does it together.

    Raises:
        NasError: a checkpoint or a network that does not fit, a file that cannot be written.
        TrainingError: the loss is no number any more, or memory ran out.
    """
    network = job.make_network()
    with ExitStack() as stack:
        enter = stack.enter_context
        watch = enter(watching()) if fabric.is_global_zero else Watch()
        enter(training_threads(job.place.threads))
        enter(seeded(job.seed, fabric.device))
        enter(quick_norms(network, job.recipe.norm_momentum))
        enter(memory_errors())
        keep_freed_memory()
        if job.tensorboard and fabric.is_global_zero:
            watch = enter(with_tensorboard(watch, job.folder))
        return _Work(fabric, job, network, watch).run()


class _Work:
    def __init__(
        self, fabric: "Fabric", job: TrainingJob, network: nn.Module, watch: Watch
    ) -> None:
        self.fabric, self.job, self.network, self.watch = fabric, job, network, watch
        n_channels = input_channels(network)
        self.shape = (n_channels, job.size, job.size)
        n_classes = len(job.data.classes)
        check_answers(network, f"network {job.name}", shape=self.shape, n_classes=n_classes)
        self.feed = Feed.of(
            job.data,
            job.recipe,
            size=job.size,
            seed=job.seed,
            n_parts=fabric.world_size * job.place.n_accumulated,
            device=fabric.device,
            n_channels=n_channels,
        )
        if job.arch is not None and job.start is not None and not job.folder.state.exists():
            start = Checkpoint.load(job.start)
            watch.say(f"{job.name} {start_from(network, job.arch, start, job.data.classes)}")

    def run(self) -> dict[str, Any]:
        """Train, and judge the best weights."""
        job, recipe = self.job, self.job.recipe
        network = self.network
        quicken(network)
        network.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = None if recipe.ema is None else Average(network, recipe.ema)
        optimizer = make_optimizer(network, recipe)
        wrapped, stepped = self.fabric.setup(network, optimizer)
        training = FullTraining(
            fabric=self.fabric,
            network=wrapped,
            optimizer=stepped,
            learner=Learner(
                network=network,
                optimizer=optimizer,
                average=average,
                scaler=self.fabric.strategy.precision,
            ),
            feed=self.feed,
            folder=job.folder,
            save_weights=self._save_weights,
            watch=self.watch,
            n_accumulated=job.place.n_accumulated,
            save_every=job.place.save_every,
            teacher=self._teacher(job.distillation),
        )
        n_before = len(training.done.rows)
        if n_before or training.done.n_steps:
            self.watch.say(f"goes on after epoch {n_before} of {recipe.epochs}")
        return self._metrics(training.run())

    def _teacher(self, distillation: Distillation | None) -> Teacher | None:
        if distillation is None:
            return None
        classes, batches = self.job.data.classes, self.feed.batches
        if callable(distillation.teacher):
            network = distillation.teacher()
            check_answers(network, "the teacher", shape=self.shape, n_classes=len(classes))
        else:
            network = trained_teacher(distillation.teacher, classes, *batches.mean_and_std())
        network.eval().requires_grad_(False)
        network.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Teacher(
            network=network,
            weight=distillation.weight,
            temperature=distillation.temperature,
        )

    def _save_weights(self, network: nn.Module, name: str) -> None:
        path = self.job.folder.path / f"{name}.safetensors"
        weights = on_cpu(network.state_dict())
        if self.job.arch is None:
            write_tensors(path, weights, {"version": MODULE_VERSION, "name": self.job.name})
            return
        checkpoint = self.feed.batches.checkpoint(self.job.arch, weights, self.job.data.classes)
        checkpoint.save(path)

    def _restore(self, path: Path) -> None:
        try:
            self.network.load_state_dict(read_tensors(path)[0])
        except (RuntimeError, UnreadableError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NasError(
                f"{path} must hold the best weights of this training, but does not: {reason}. "
                "Choose another hydra.run.dir= to train anew."
            ) from error

    def _metrics(self, progress: Progress) -> dict[str, Any]:
        job, rows = self.job, progress.rows
        self.fabric.barrier()  # until the best weights are written
        self._restore(job.folder.best)
        part = "validation" if job.data.test is None else "test"
        images = self.feed.batches.validation if job.data.test is None else job.data.test
        accuracy = evaluate(self.network, images, self.feed, self.fabric)
        return {
            "network": job.name,
            "data": job.data.name,
            "part": part,
            **asdict(accuracy),
            "epochs": len(rows),
            "best_epoch": progress.best_epoch,
            "seconds": sum(row.seconds for row in rows),
            "seconds_per_epoch": median(row.seconds for row in rows),
            "images_per_second": median(row.images_per_second for row in rows),
            "data_percent": median(row.data_percent for row in rows),
            "inference_ms": inference_ms(self.network, self.shape),
            "params": sum(one.numel() for one in self.network.parameters()),
            "device": str(self.fabric.device),
            "devices": self.fabric.world_size,
            "resolution": job.size,
        }
