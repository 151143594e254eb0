"""Arch, space and recipe files, and the words of a command line."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from readers import Reader, files

from nas import commands
from nas.ablation import chosen_arch
from nas.adapt.settings import AdaptSettings
from nas.arch import Arch
from nas.cost import count_macs, count_params, peak_memory_bytes
from nas.search.options import SearchSettings, check
from nas.space import SearchSpace
from nas.text import read_yaml
from nas.train.settings import TrainSettings
from nas.training.full.recipe import FullRecipe

MAX_WORDS = 100
"""Of a command line: Hydra takes milliseconds for each."""
SCHEMAS = {"search": SearchSettings, "train": TrainSettings, "adapt": AdaptSettings}


def arches() -> Sequence[bytes]:
    """Return arch files."""
    return files("search_spaces/baselines/mobilenet_v*.yaml")[1::3]


def spaces() -> Sequence[bytes]:
    """Return space files."""
    return [*files("search_spaces/tiny.yaml"), *files("search_spaces/small_images.yaml")]


def recipes() -> Sequence[bytes]:
    """Return recipe files."""
    return files("conf/recipe/*.yaml")


def words() -> Sequence[bytes]:
    """Return command lines, a word a line."""
    return [
        b"search\nhardware=pixel6_cpu\nspace=tiny\nsampler=tpe\nproxy.risk=0.5\n",
        b"train\narch=mobilenet_v3_small\nrecipe=quick\nrecipe.epochs=3\nwidth=0.5\n",
        b"adapt\narch=mobilenet_v3_large\n+hardware=pixel_cpu\ntarget_ms=33\nablate=[no_se]\n",
    ]


def read_arch(path: Path) -> None:
    """Load a network, look at it, and save it beside."""
    arch = Arch.load(path)
    _ = str(arch), arch.key(), count_macs(arch), count_params(arch), peak_memory_bytes(arch)
    arch.save(path.with_name("saved.yaml"))
    assert Arch.load(path.with_name("saved.yaml")) == arch
    arch.scaled(0.5, 96)


def read_space(path: Path) -> None:
    """Load a space, count it and draw from it."""
    space = SearchSpace.load(path)
    _ = space.n_choices, space.size, space.layers(), space.random(0)
    space.extreme(count_macs, min)
    if space.reference is not None:
        Arch.load(space.reference)


def read_recipe(path: Path) -> None:
    """Make a recipe of a mapping."""
    FullRecipe.of(read_yaml(path)).values()


def read_words(path: Path) -> None:
    """Compose the config of a command line, and check it as the command does."""
    lines = path.read_bytes().decode(errors="surrogateescape").splitlines() or [""]
    name, *rest = lines[:MAX_WORDS]
    schema = SCHEMAS.get(name, SearchSettings)
    name = name if name in SCHEMAS else "search"
    before, sys.argv = sys.argv, ["nas", *rest]
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(commands.CONF), version_base="1.3"):
            given = [word for word in commands._arguments(rest) if "searchpath" not in word]
            cfg = compose(name, given)
    except Exception as error:
        assert commands._explain(error, name)  # whatever comes from Hydra is worded there
        return
    finally:
        sys.argv = before
    if any("${" in word for word in rest):
        return  # the user's own words may ask for the environment
    options: Any = commands.settings(cfg, schema)
    if isinstance(options, SearchSettings):
        if options.hardware is None:
            return
        check(options)
        if options.space is not None:
            SearchSpace.load(options.space)
    elif isinstance(options, TrainSettings):
        options.check()
        FullRecipe.of(options.recipe)
        if options.arch is not None:
            chosen_arch(options.arch, options.width, options.resolution, options.ablate)
    elif isinstance(options, AdaptSettings):
        options.check()
        options.chosen_arch()
    assert OmegaConf.is_config(cfg)


NETWORK_READERS = (
    Reader(name="arch", file="net.yaml", form="yaml", examples=arches, read=read_arch, weight=0.4),
    Reader(
        name="space", file="mine.yaml", form="yaml", examples=spaces, read=read_space, weight=0.2
    ),
    Reader(
        name="recipe", file="mine.yaml", form="yaml", examples=recipes, read=read_recipe, weight=0.4
    ),
    Reader(name="options", file="words", form="text", examples=words, read=read_words, weight=0.05),
)
