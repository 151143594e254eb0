"""Train one network for a short while, and judge it by images that it has not seen."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.arch import Arch
from nas.data.images import ImageData
from nas.network.build import build
from nas.network.depthwise import quicken
from nas.training.batches import Batches, device_named, input_channels
from nas.training.conditions import (
    DivergedError,
    keep_freed_memory,
    memory_errors,
    quick_norms,
    seeded,
    training_threads,
)
from nas.training.optimizers import make_optimizer, mixed_precision, set_learning_rate
from nas.training.recipe import Recipe

OnEpoch = Callable[[int, float], bool]
"""Told the epoch, from 1, and the top-1 after it; True ends the training there."""
N_GLANCE = 1000
"""Validation images that judge an epoch; only the end of a training is judged by all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What became of one training.

    `top1` is in percent, on all validation images where the training `is_whole`; it is not where
    `on_epoch` ended it. `history` is the top-1 after each epoch, on `N_GLANCE` images but for the
    last of a whole training. `seconds` are those of the whole loop, validation included.
    """

    top1: float
    history: tuple[float, ...]
    seconds: float
    is_whole: bool


def train_arch(
    arch: Arch,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "auto",
    threads: int | None = 1,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Train what the recipe makes of an arch, from weights drawn from the seed; see `train`."""
    with seeded(seed, torch.device("cpu")):
        scaled = recipe.network(arch, len(data.classes), data.size)
        network = build(scaled, dropout=recipe.dropout)
    quicken(network)
    return train(
        network, data, recipe, seed=seed, device=device, threads=threads, on_epoch=on_epoch
    )


def train(
    network: nn.Module,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "auto",
    threads: int | None = 1,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Train a network in place and return its accuracy on the validation part.

    On a CPU the result follows to the last bit from weights, data, recipe, seed and threads, unless
    the recipe limits the seconds. One thread is the default, as networks as small as these gain
    little by more, and processes beside each other lose (None: as many as torch has).

    Raises:
        TrainingError: the loss is no number any more (`DivergedError`), or memory ran out.
        NasError: a device that is not there, or images of other channels than the network's.
    """
    place = device_named(device)
    keep_freed_memory()
    with training_threads(threads), seeded(seed, place), quick_norms(network), memory_errors():
        network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return _fit(network, data, recipe, torch.Generator().manual_seed(seed), on_epoch)


def _fit(
    network: nn.Module,
    data: ImageData,
    recipe: Recipe,
    generator: torch.Generator,
    on_epoch: OnEpoch | None,
) -> Training:
    started, history = time.perf_counter(), list[float]()
    device = next(network.parameters()).device
    batches = Batches.of(data, recipe, device=device, n_channels=input_channels(network))
    budget = Budget(n_steps=recipe.epochs * batches.n_steps, seconds=recipe.seconds)
    optimizer, precision = make_optimizer(network, recipe), mixed_precision(device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    is_stopped = False
    while not (budget.is_spent or is_stopped):
        network.train()
        total = torch.zeros((), device=device)
        for images, labels in batches.one_pass(generator):
            set_learning_rate(optimizer, recipe, budget.progress)
            with torch.autocast(device.type, precision, enabled=precision is not None):
                logits = network(images)
                loss = functional.cross_entropy(
                    logits, labels, label_smoothing=recipe.label_smoothing
                )
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            total += loss.detach()
            budget.n_done += 1
            if budget.is_spent:
                break
        _check_loss(float(total), len(history) + 1, recipe)
        history.append(accuracy(network, batches, None if budget.is_spent else N_GLANCE))
        if on_epoch is not None:
            is_stopped = on_epoch(len(history), history[-1]) and not budget.is_spent
    return Training(
        top1=history[-1],
        history=tuple(history),
        seconds=time.perf_counter() - started,
        is_whole=not is_stopped,
    )


@dataclass(kw_only=True)
class Budget:
    """How much of a training is over: of its steps or of its seconds, whichever is more."""

    n_steps: int
    seconds: float | None
    n_done: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def progress(self) -> float:
        """Return a share from 0 to 1."""
        share = self.n_done / self.n_steps
        if self.seconds is not None:
            share = max(share, (time.perf_counter() - self.started) / self.seconds)
        return min(1.0, share)

    @property
    def is_spent(self) -> bool:
        """Tell whether the training is over."""
        return self.progress >= 1


def accuracy(network: nn.Module, batches: Batches, n_images: int | None = None) -> float:
    """Return the top-1 in percent on the validation images, or on so many of them."""
    network.eval()
    precision = mixed_precision(next(network.parameters()).device)
    n_right, n_seen = 0, 0
    with torch.inference_mode():
        for images, labels in batches.validation_batches(n_images):
            with torch.autocast(images.device.type, precision, enabled=precision is not None):
                logits: Tensor = network(images)
            n_right += int((logits.argmax(dim=1) == labels).sum())
            n_seen += len(labels)
    return 100 * n_right / max(1, n_seen)


def _check_loss(total: float, epoch: int, recipe: Recipe) -> None:
    if not isfinite(total):
        raise DivergedError(
            f"the loss must be a number, but was {total} in epoch {epoch} of {recipe.epochs}. "
            f"Lower recipe.learning_rate ({recipe.learning_rate:g})."
        )
