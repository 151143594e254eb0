"""Train a supernet: in every step the largest, the smallest and a few random networks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas.arch import Arch
from nas.network.supernet.supernet import Supernet
from nas.space import SearchSpace
from nas.training.batches import Batches
from nas.training.conditions import DivergedError, seeded
from nas.training.optimizers import make_optimizer, mixed_precision, set_learning_rate
from nas.training.supernet_checkpoint import SupernetCheckpoint

_KINDS = ("act", "se", "stride")
"""What is no matter of size: drawn at random for the largest and the smallest network too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandwich:
    """Which networks a step trains (BigNAS, arXiv:2003.11142, section 3.1).

    The largest learns from the labels, the others from the largest; where it `is_bare`, there are
    only `n_random` networks, and all learn from the labels.
    """

    n_random: int = 2
    is_bare: bool = False

    def archs(self, space: SearchSpace, rng: np.random.Generator) -> list[Arch]:
        """Draw the networks of a step, the largest first."""
        randoms = [space.random(rng) for _ in range(self.n_random)]
        if self.is_bare:
            return randoms
        return [extreme(space, rng, max), extreme(space, rng, min), *randoms]


def extreme(space: SearchSpace, rng: np.random.Generator, best: Callable[..., object]) -> Arch:
    """Return the largest (`best=max`) or smallest (`min`) network, of random activations and SE."""
    chosen = {
        name: values[rng.integers(len(values))]
        if name.partition(".")[2] in _KINDS
        else best(values)
        for name, values in space.choices.items()
    }
    return space.arch(chosen)


@dataclass(kw_only=True)
class SupernetTraining:
    """A training of a supernet that can be left after any step and gone on with.

    All that is drawn in a step follows from `seed` and the step's number, so that a training that
    is continued from its checkpoint gives on a CPU the same weights, to the last bit, as one that
    was never interrupted.
    """

    supernet: Supernet
    batches: Batches
    sandwich: Sandwich
    seed: int
    checkpoint: SupernetCheckpoint | None = None
    save_every: int = 100
    n_done: int = 0

    def __post_init__(self) -> None:
        # Every product of a GPU's is quicker so, and of a CPU's training most are.
        self.supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.supernet, self.batches.recipe)
        for group in self.optimizer.param_groups:
            # Fused steps fail on weights that no network of the first steps held.
            group["fused"] = False
        if self.checkpoint is not None:
            self.n_done = self.checkpoint.load(self.supernet, self.optimizer)

    @property
    def n_steps(self) -> int:
        """Return the steps of the whole training."""
        return self.batches.recipe.epochs * self.batches.n_steps

    def run(self, on_step: Callable[[int, int], None] | None = None) -> None:
        """Take the steps that are left; `on_step` is told how many are done, and of how many.

        Raises:
            DivergedError: weights are no numbers any more.
        """
        self.supernet.train()
        for images, labels in self._batches_left():
            self._step(images, labels)
            self.n_done += 1
            if self.n_done % self.save_every == 0 or self.n_done == self.n_steps:
                self._save()
            if on_step is not None:
                on_step(self.n_done, self.n_steps)

    def _batches_left(self) -> Iterator[tuple[Tensor, Tensor]]:
        a_pass = self.batches.n_steps
        for epoch in range(self.n_done // a_pass, self.batches.recipe.epochs):
            generator = torch.Generator().manual_seed(self._draw(epoch, 1))
            taken = self.n_done - epoch * a_pass
            for number, batch in enumerate(self.batches.one_pass(generator)):
                if number >= taken:
                    yield batch

    def _draw(self, number: int, purpose: int) -> int:
        return int(np.random.default_rng([self.seed, number, purpose]).integers(2**63))

    def _step(self, images: Tensor, labels: Tensor) -> None:
        recipe, rng = self.batches.recipe, np.random.default_rng([self.seed, self.n_done, 0])
        set_learning_rate(self.optimizer, recipe, self.n_done / self.n_steps)
        self.optimizer.zero_grad()
        teacher: Tensor | None = None
        precision = mixed_precision(images.device)
        # Half floats would need gradients scaled network by network; such GPUs compute in full.
        is_short = precision == torch.bfloat16
        with seeded(self._draw(self.n_done, 2), images.device):
            for arch in self.sandwich.archs(self.supernet.space, rng):
                with torch.autocast(images.device.type, precision, enabled=is_short):
                    logits = self.supernet(images, arch).float()
                    loss = functional.cross_entropy(
                        logits,
                        labels if teacher is None else teacher,
                        label_smoothing=recipe.label_smoothing if teacher is None else 0.0,
                    )
                loss.backward()  # type: ignore[no-untyped-call]
                if teacher is None and not self.sandwich.is_bare:
                    teacher = logits.detach().softmax(dim=1)
        self.optimizer.step()

    def _save(self) -> None:
        if not all(bool(one.isfinite().all()) for one in self.supernet.parameters()):
            raise DivergedError(
                f"the supernet's weights must be numbers, but are none after {self.n_done} steps. "
                f"Lower recipe.learning_rate ({self.batches.recipe.learning_rate:g})."
            )
        if self.checkpoint is not None:
            self.checkpoint.save(self.supernet, self.optimizer, self.n_done)
