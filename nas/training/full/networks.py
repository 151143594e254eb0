"""The networks of a training in full: fresh, from a checkpoint, or a teacher."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.data.augment import resize
from nas.errors import NasError
from nas.network.build import build
from nas.network.checkpoint import Checkpoint
from nas.training.conditions import seeded


def fresh(arch: Arch, dropout: float, seed: int) -> nn.Module:
    """Return the network of an arch with weights drawn from a seed."""
    with seeded(seed, torch.device("cpu")):
        return build(arch, dropout=dropout)


def start_from(network: nn.Module, arch: Arch, start: Checkpoint, classes: Sequence[str]) -> str:
    """Fill in the weights of a checkpoint, and return what is to be said of it.

    The classifier keeps its fresh weights where the classes are not the checkpoint's.

    Raises:
        NasError: the checkpoint is of another network.
    """
    check_start(arch, start)
    weights = dict(start.weights)
    is_same = tuple(start.classes) == tuple(classes)
    if not is_same:
        number = len(arch.layers) - 1
        for name in ("weight", "bias"):
            del weights[f"layers.{number}.classifier.{name}"]
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise _mismatch(arch, start, " ".join(str(error).split())[:200]) from error
    if unexpected or (is_same and missing):
        raise _mismatch(arch, start, f"weights {', '.join([*unexpected, *missing][:3])}")
    kept = f"starts from the weights of {start.arch.name}"
    if is_same:
        return kept
    return (
        f"{kept}; its {len(start.classes)} classes are not the {len(classes)} here, so the "
        "classifier begins anew"
    )


def check_start(arch: Arch, start: Checkpoint) -> None:
    """Refuse a checkpoint of another network; classes and resolution may differ.

    Raises:
        NasError: it names the first layer that differs.
    """
    same = start.arch.scaled(1.0, arch.resolution).with_num_classes(arch.num_classes)
    for own, other in zip(arch.layers, same.layers, strict=False):
        if own != other:
            raise _mismatch(arch, start, f"layer `{other}` where `{own}` is wanted")
    if len(arch.layers) != len(same.layers):
        raise _mismatch(arch, start, f"{len(same.layers)} layers, not {len(arch.layers)}")


def _mismatch(arch: Arch, start: Checkpoint, what: str) -> NasError:
    return NasError(
        f"the checkpoint start= must be of the network {arch.name}, but is of {start.arch.name}: "
        f"{what}. Leave arch= out to train the checkpoint's own network."
    )


class TrainedTeacher(nn.Module):
    """A network of a checkpoint, for images that are normalised and sized as another wants them."""

    def __init__(self, trained: Checkpoint, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = trained.network()
        self.size = trained.arch.resolution
        own_mean, own_std = (
            torch.tensor(one).view(1, -1, 1, 1) for one in (trained.mean, trained.std)
        )
        self.scale: Tensor
        self.offset: Tensor
        self.register_buffer("scale", std / own_std)
        self.register_buffer("offset", (mean - own_mean) / own_std)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, channels, H, W) of the student to logits (N, classes)."""
        logits: Tensor = self.network(
            resize(torch.addcmul(self.offset, images, self.scale), self.size)
        )
        return logits


def trained_teacher(path: Path, classes: Sequence[str], mean: Tensor, std: Tensor) -> nn.Module:
    """Return the teacher of a checkpoint; images come with `mean` and `std` (1, channels, 1, 1).

    Raises:
        NasError: the file is none, or its classes are not those of the data.
    """
    trained = Checkpoint.load(path)
    if tuple(trained.classes) != tuple(classes):
        raise NasError(
            f"teacher {path} must know the {len(classes)} classes of the data, but knows "
            f"{len(trained.classes)} others. Choose one that was trained on the same classes."
        )
    return TrainedTeacher(trained, mean, std)


def check_answers(network: nn.Module, what: str, *, shape: Sequence[int], n_classes: int) -> None:
    """Refuse a network that does not map images of a shape to so many logits.

    Raises:
        NasError: it fails, or gives something else.
    """
    was_training = network.training
    network.eval()
    first = next(iter(network.parameters()), torch.zeros(()))
    try:
        with torch.no_grad():
            answer = network(torch.zeros(2, *shape, device=first.device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise NasError(
            f"{what} must take images of shape {tuple(shape)}, but fails: "
            f"{' '.join(str(error).split())[:200]} Choose another, or another resolution=."
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (2, n_classes):
        found = tuple(answer.shape[1:]) if isinstance(answer, Tensor) else type(answer).__name__
        raise NasError(
            f"{what} must give {n_classes} logits an image, one a class of the data, but gives "
            f"{found}. Set its number of classes."
        )
