"""The loop of a training in full, which can be left at any moment and gone on with."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas.data.images import Images
from nas.training.conditions import DivergedError
from nas.training.full.evaluation import evaluate
from nas.training.full.feed import Feed
from nas.training.full.folder import TrainingFolder
from nas.training.full.losses import Teacher, label_loss
from nas.training.full.optimizers import learning_rate
from nas.training.full.state import Learner, Progress
from nas.training.full.stopwatch import Stopwatch
from nas.training.full.watching import EpochRow, Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SaveWeights = Callable[[nn.Module, str], None]
"""Writes the weights of a network to a file of the folder: `best` or `last`."""


@dataclass(kw_only=True, eq=False)
class FullTraining:
    """A training in full, as one of the processes of `fabric` sees it.

    `network` and `optimizer` are the learner's as fabric has set them up. Each step is cut into
    `fabric.world_size` x `n_accumulated` parts, of which each process takes `n_accumulated`; the
    mean of their gradients is that of the whole batch. Batch-norm sees a part at a time, and its
    running statistics are averaged over the processes where the state is saved.
    """

    fabric: "Fabric"
    network: Any
    optimizer: Any
    learner: Learner
    feed: Feed
    folder: TrainingFolder
    save_weights: SaveWeights
    watch: Watch
    n_accumulated: int = 1
    save_every: int | None = None
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        self.recipe = self.feed.recipe
        self.done = self.learner.load(self.folder.state)
        self._loss = torch.zeros((), dtype=torch.float64, device=self.feed.device)
        self._stopwatch = Stopwatch(self.feed.device)

    def run(self) -> Progress:
        """Train what is left of the epochs, and return what became of it.

        Raises:
            DivergedError: the loss is no number any more; the state before it is kept.
            NasError: a file cannot be written; what was saved before is kept.
        """
        if self.fabric.is_global_zero and self.done.rows:
            self.folder.write_epochs(self.done.rows)  # the last line may be missing
        for epoch in range(len(self.done.rows), self.recipe.epochs):
            self._train(epoch)
            self._judge(epoch)
        return self.done

    def _train(self, epoch: int) -> None:
        n_steps, order = self.feed.n_steps, self.feed.order(epoch)
        self._loss.fill_(self.done.loss)
        self.network.train()
        self._started = time.perf_counter()
        while self.done.n_steps < (epoch + 1) * n_steps:
            self._step(order)
            self.done.n_steps += 1
            in_epoch = self.done.n_steps - epoch * n_steps
            self.watch.on_step("training", self.done.n_steps, self.recipe.epochs * n_steps)
            if self.save_every and in_epoch % self.save_every == 0 and in_epoch < n_steps:
                self._pause()
                self._save_state()
        self._pause()

    def _step(self, order: Tensor) -> None:
        step, n_parts = self.done.n_steps, self.n_accumulated
        rate = learning_rate(self.recipe, step / self.feed.n_steps)
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate
        self.learner.optimizer.zero_grad()
        for number in range(n_parts):
            loss = self._backward(order, step, self.fabric.global_rank * n_parts + number)
            self._loss += loss.detach() / n_parts
        if self.recipe.clip_norm is not None:
            self.fabric.clip_gradients(
                self.network,
                self.optimizer,
                max_norm=self.recipe.clip_norm,
                error_if_nonfinite=False,  # the loss will say so
            )
        self.optimizer.step()
        if self.learner.average is not None:
            self.learner.average.update(step)

    def _backward(self, order: Tensor, step: int, number: int) -> Tensor:
        """Add the gradients of a part, and return its loss."""
        with self._stopwatch.running():
            part = self.feed.part(order, step, number)
        torch.manual_seed(self.feed.network_seed(step, number))
        is_last = number % self.n_accumulated == self.n_accumulated - 1
        with self.fabric.no_backward_sync(self.network, enabled=not is_last):
            logits = self.network(part.images).float()
            loss = label_loss(logits, part, self.recipe.label_smoothing)
            if self.teacher is not None:
                with self.fabric.autocast():
                    answers = self.teacher.logits(part.images)
                loss = self.teacher.blended(loss, logits, answers)
            self.fabric.backward(loss / self.n_accumulated)
        return loss

    def _pause(self) -> None:
        """Bring the processes to one state, and note the loss and the time so far."""
        if self.fabric.world_size > 1:
            for network in (self.learner.network, self.learner.judged):
                self._mean_over_processes(network)
        total = self.fabric.all_reduce(self._loss, reduce_op="mean")
        assert isinstance(total, Tensor)
        self._loss.copy_(total)
        self.done.loss = float(self._loss)
        now = time.perf_counter()
        self.done.seconds += now - self._started
        self.done.data_seconds += self._stopwatch.read()
        self._started = now
        self._check_finite()

    def _check_finite(self) -> None:
        """Refuse to keep what is no number: a loss, or a weight that the last step left."""
        weights = (one.isfinite().all() for one in self.learner.network.parameters())
        if not isfinite(self.done.loss) or not all(map(bool, weights)):
            raise DivergedError(
                f"loss and weights must be numbers, but were none in epoch "
                f"{len(self.done.rows) + 1} of {self.recipe.epochs}. Lower recipe.learning_rate "
                f"({self.recipe.learning_rate:g}), and choose another hydra.run.dir=."
            )

    def _mean_over_processes(self, network: nn.Module) -> None:
        for one in network.buffers():
            if one.is_floating_point():
                mean = self.fabric.all_reduce(one, reduce_op="mean")
                assert isinstance(mean, Tensor)
                one.copy_(mean)

    def _judge(self, epoch: int) -> None:
        done, n_steps = self.done, self.feed.n_steps
        started = time.perf_counter()
        images: Images = self.feed.batches.validation
        accuracy = evaluate(self.learner.judged, images, self.feed, self.fabric)
        n_images = n_steps * self.feed.n_parts * self.feed.part_size
        row = EpochRow(
            epoch=epoch + 1,
            learning_rate=learning_rate(self.recipe, (done.n_steps - 1) / n_steps),
            loss=done.loss / n_steps,
            top1=accuracy.top1,
            top5=accuracy.top5,
            seconds=done.seconds + time.perf_counter() - started,
            images_per_second=n_images / done.seconds,
            data_percent=100 * done.data_seconds / done.seconds,
        )
        is_best = row.top1 > done.best_top1
        self.done = replace(
            done,
            loss=0.0,
            seconds=0.0,
            data_seconds=0.0,
            rows=[*done.rows, row],
            best_top1=row.top1 if is_best else done.best_top1,
            best_epoch=row.epoch if is_best else done.best_epoch,
        )
        self._keep(is_best)
        self.watch.on_epoch(row, self.recipe.epochs)

    def _keep(self, is_best: bool) -> None:
        """Write weights, then the state that says so: killed in between, it is all done again."""
        if not self.fabric.is_global_zero:
            return
        for name in ("best", "last") if is_best else ("last",):
            self.save_weights(self.learner.judged, name)
        self._save_state()
        self.folder.write_epochs(self.done.rows)

    def _save_state(self) -> None:
        if self.fabric.is_global_zero:
            self.learner.save(self.folder.state, self.done)
