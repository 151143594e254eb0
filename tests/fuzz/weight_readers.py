"""Files of tensors: checkpoints, what trainings go on from, and images that were decoded before."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from readers import Reader
from torch import Tensor, nn

from nas.arch import Arch, Layer
from nas.data import cache as image_cache
from nas.data.images import ImageData, Images
from nas.network.build import build
from nas.network.checkpoint import Checkpoint
from nas.network.supernet.supernet import Supernet
from nas.space import SearchSpace
from nas.training.full.averaging import Average
from nas.training.full.folder import TrainingFolder
from nas.training.full.state import Learner, Progress
from nas.training.full.watching import EpochRow
from nas.training.optimizers import make_optimizer
from nas.training.recipe import Recipe
from nas.training.supernet_checkpoint import SupernetCheckpoint

LINES = ("conv k3 3>4 s2 re @8", "mb k3 4>8>4 s1 se4 hs @4", "head 4>2 @4")
SMALL = Arch(name="small", layers=tuple(map(Layer.parse, LINES)))
RECIPE = Recipe(resolution=8, width=0.25)


class NoScaler:
    """Stands for the scaler of a training that needs none."""

    def state_dict(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def load_state_dict(self, content: dict[str, float]) -> None:
        """Take nothing."""


def written(write: object) -> bytes:
    """Return what is written to a path."""
    assert callable(write)
    with TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def checkpoints() -> Sequence[bytes]:
    """Return a checkpoint of a small network."""
    one = Checkpoint(
        arch=SMALL,
        weights=build(SMALL).state_dict(),
        classes=("cat", "dog"),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    return [written(one.save)]


@cache
def learner() -> Learner:
    """Return a training that has taken a step."""
    network = build(SMALL)
    optimizer = make_optimizer(network, RECIPE)
    network(torch.zeros(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    average = Average(network, 0.9)
    return Learner(network=network, optimizer=optimizer, average=average, scaler=NoScaler())


def states() -> Sequence[bytes]:
    """Return the state of a training after an epoch."""
    row = EpochRow(
        epoch=1,
        learning_rate=0.1,
        loss=0.5,
        top1=50.0,
        top5=90.0,
        seconds=1.5,
        images_per_second=10.0,
        data_percent=5.0,
    )
    progress = Progress(n_steps=10, loss=0.5, seconds=1.5, rows=[row], best_top1=50.0, best_epoch=1)
    return [written(lambda path: learner().save(path, progress))]


@cache
def supernet() -> tuple[Supernet, torch.optim.Optimizer]:
    """Return a supernet of a tiny space."""
    space = SearchSpace.load("tiny")
    made = Supernet(space, lambda arch: RECIPE.network(arch, 2, 8), 0.0)
    return made, make_optimizer(made, RECIPE)


def supernets() -> Sequence[bytes]:
    """Return the checkpoint of a supernet."""
    made, optimizer = supernet()
    for one in made.parameters():
        one.grad = torch.zeros_like(one)
    for group in optimizer.param_groups:
        group["fused"] = False
    optimizer.step()
    return [
        written(lambda path: SupernetCheckpoint(path=path, identity="one").save(made, optimizer, 4))
    ]


def decoded() -> Sequence[bytes]:
    """Return images that were decoded before."""

    def images() -> Images:
        return Images(
            pixels=torch.zeros((4, 1, 4, 4), dtype=torch.uint8), labels=torch.arange(4) % 2
        )

    parts = {"train": images(), "validation": images()}
    classes = ("cat", "dog")
    digest = image_cache.content_digest(classes, parts)
    data = ImageData(name="pets", digest=digest, classes=classes, **parts)
    with TemporaryDirectory() as folder:
        image_cache.keep("key", data, Path(folder))
        (path,) = Path(folder).glob("*.safetensors")
        return [path.read_bytes()]


def read_checkpoint(path: Path) -> None:
    """Load a checkpoint, and its network."""
    found = Checkpoint.load(path)
    network = found.network()
    found.save(path.with_name("saved.safetensors"))
    image = torch.zeros(1, found.arch.layers[0].in_channels, *[min(found.arch.resolution, 64)] * 2)
    with torch.inference_mode():
        network(image)


def read_state(path: Path) -> None:
    """Go on with a training."""
    progress = learner().load(path)
    TrainingFolder(path.parent / "run").write_epochs(progress.rows)
    assert progress.n_steps >= 0 and progress.loss + progress.seconds + progress.best_top1 > -2
    assert progress.best_epoch <= len(progress.rows)
    assert all(isinstance(one, Tensor) for one in nn.Module.state_dict(learner().network).values())


def read_supernet(path: Path) -> None:
    """Go on with the training of a supernet."""
    assert SupernetCheckpoint(path=path, identity="one").load(*supernet()) >= 0


def read_decoded(path: Path) -> None:
    """Look for images that were decoded before: broken ones are as good as none."""
    found = image_cache.find("key", path.parent)
    assert found is None or json.dumps(found.classes)


WEIGHT_READERS = (
    Reader(
        name="checkpoint",
        file="net.safetensors",
        form="tensors",
        examples=checkpoints,
        read=read_checkpoint,
    ),
    Reader(
        name="training state",
        file="state.safetensors",
        form="tensors",
        examples=states,
        read=read_state,
    ),
    Reader(
        name="supernet",
        file="tiny.safetensors",
        form="tensors",
        examples=supernets,
        read=read_supernet,
        weight=0.3,
    ),
    Reader(
        name="decoded images",
        file=image_cache._place("key", Path()).name,
        form="tensors",
        examples=decoded,
        read=read_decoded,
    ),
)
