"""All that a training in full is made from; it can be handed to other processes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nas.arch import Arch
from nas.data.images import ImageData
from nas.errors import NasError
from nas.training.full.folder import TrainingFolder
from nas.training.full.recipe import FullRecipe

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""What products are computed in, as Fabric calls it; weights are always fp32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where and how a training computes.

    device: auto, cpu, cuda, cuda:1 ... n_devices: processes, each with a device of its own, or on
    a CPU a share of its cores. n_accumulated: parts that each computes its batch in. precision:
    fp32, bf16, fp16 (None: what suits the device). threads: of torch in each process on a CPU
    (None: as many as there are cores for it). save_every: steps after which the state is saved
    (None: at the end of an epoch alone).
    """

    device: str = "auto"
    n_devices: int = 1
    n_accumulated: int = 1
    precision: str | None = None
    threads: int | None = None
    save_every: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return what the numbers of a training follow from."""
        own = {
            "devices": self.n_devices,
            "accumulate": self.n_accumulated,
            "precision": self.precision,
        }
        # Only there do the processes wait for each other's statistics where the state is saved.
        return {**own, **({"save_every": self.save_every} if self.n_devices > 1 else {})}


@dataclass(frozen=True, kw_only=True, eq=False)
class Distillation:
    """Which teacher a network learns from: a module's maker, or a checkpoint."""

    teacher: Callable[[], nn.Module] | Path
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise NasError(f"teacher_weight must be from 0 to 1, but is {self.weight:g}.")
        if not 0.01 <= self.temperature <= 1000:
            raise NasError(
                f"teacher_temperature must be from 0.01 to 1000, but is {self.temperature:g}."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingJob:
    """A network, what it is trained on and how, and the folder for what comes out.

    name: of the network. arch: None for a module of another kind. make_network: returns it with
    fresh weights, the same in every process. size: pixels of the images. start: a checkpoint.
    identity: what two runs must share for one to go on with the other.
    """

    name: str
    arch: Arch | None
    make_network: Callable[[], nn.Module]
    size: int
    data: ImageData
    recipe: FullRecipe
    folder: TrainingFolder
    identity: dict[str, Any]
    seed: int = 0
    place: Place
    start: Path | None = None
    distillation: Distillation | None = None
    tensorboard: bool = False
