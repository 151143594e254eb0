"""Make a training of the options: its network, its teacher, its place and its identity."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.ablation import chosen_arch
from nas.arch import Arch
from nas.commands import make
from nas.errors import NasError, shown
from nas.network.checkpoint import Checkpoint
from nas.results import file_hash
from nas.train.settings import TrainSettings
from nas.training.conditions import seeded
from nas.training.full.folder import TrainingFolder
from nas.training.full.job import Distillation, Place, TrainingJob
from nas.training.full.launch import is_launched
from nas.training.full.networks import check_start, fresh
from nas.training.full.recipe import FullRecipe


def place_of(options: TrainSettings) -> Place:
    """Return where the options want the training; under torchrun, on the processes it started."""
    return Place(
        device=options.device,
        n_devices=int(os.environ["WORLD_SIZE"]) if is_launched() else options.devices,
        n_accumulated=options.accumulate,
        precision=options.precision,
        threads=options.threads,
        save_every=options.save_every,
    )


def arch_of(options: TrainSettings) -> Arch | None:
    """Return the network as it is named, with its own classes; None where `model` makes it.

    Raises:
        NasError: there is no such network, or `start` is a checkpoint of another one.
    """
    if options.model is not None:
        return None
    start = None if options.start is None else Checkpoint.load(options.start)
    if options.arch is None:
        assert start is not None  # the settings were checked
        return start.arch.scaled(options.width, options.resolution)
    arch = chosen_arch(options.arch, options.width, options.resolution, options.ablate)
    if start is not None:
        check_start(arch, start)
    return arch


def job_of(
    options: TrainSettings,
    recipe: FullRecipe,
    arch: Arch | None,
    data: Any,
    folder: TrainingFolder,
) -> TrainingJob:
    """Return the training of a network on data."""
    size = options.resolution or recipe.resolution or data.size
    place = place_of(options)
    if arch is not None:
        name = arch.name
        arch = arch.scaled(1.0, size).with_num_classes(len(data.classes))
        make_network = partial(fresh, arch, recipe.dropout, options.seed)
        network: Any = [str(layer) for layer in arch.layers]
    else:
        node = _node(options.model, "model")
        name = str(node["_target_"]).rpartition(".")[2]
        make_network = partial(module_of, node, "model", options.seed)
        network = {**node, "resolution": size}
    teacher = _teacher(options)
    return TrainingJob(
        name=name,
        arch=arch,
        make_network=make_network,
        size=size,
        data=data,
        recipe=recipe,
        folder=folder,
        identity={
            "network": network,
            "data": data.digest,
            "start": _file_identity(options.start),
            "teacher": _teacher_identity(options),
            **place.identity(),
            "recipe": recipe.values(),
            "seed": options.seed,
        },
        seed=options.seed,
        place=place,
        start=None if options.start is None else Path(options.start),
        distillation=teacher,
        tensorboard=options.tensorboard,
    )


def module_of(node: Mapping[str, Any], what: str, seed: int) -> nn.Module:
    """Return the torch module that a node's `_target_` makes, its weights drawn from a seed.

    Raises:
        NasError: it cannot be made, or is no module.
    """
    with seeded(seed, torch.device("cpu")):
        made: nn.Module = make(node, what, "state_dict")
    return made


def _teacher(options: TrainSettings) -> Distillation | None:
    own = options.teacher
    if own is None:
        return None
    if not isinstance(own, str):
        own = partial(module_of, _node(own, "teacher"), "teacher", options.seed)
    return Distillation(
        teacher=Path(own) if isinstance(own, str) else own,
        weight=options.teacher_weight,
        temperature=options.teacher_temperature,
    )


def _teacher_identity(options: TrainSettings) -> dict[str, Any] | None:
    own = options.teacher
    if own is None:
        return None
    return {
        "network": _file_identity(own) if isinstance(own, str) else own,
        "weight": options.teacher_weight,
        "temperature": options.teacher_temperature,
    }


def _node(node: Any, what: str) -> dict[str, Any]:
    if not isinstance(node, dict) or "_target_" not in node:
        raise NasError(
            f'{what} must name what to make: "{what}={{_target_: my_module.MyNetwork}}", but is '
            f"{shown(node)}."
        )
    return node


def _file_identity(path: str | None) -> str | None:
    return None if path is None else file_hash(Path(path))
