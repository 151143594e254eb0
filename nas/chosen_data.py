"""Load the data set that the command line chose, and show how much of it is decoded."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from hydra.utils import get_method
from rich.console import Console

from nas.commands import choice, make
from nas.showing_steps import showing_steps
from nas.steps import OnStep


def load_data(node: Mapping[str, Any] | None, console: Console) -> Any:
    """Return the `ImageData` that a node of conf/data describes, None where none is chosen.

    Raises:
        NasError: it cannot be read.
    """
    with showing_steps(console) as on_step:
        return read_data(node, on_step)


def read_data(node: Mapping[str, Any] | None, on_step: OnStep, name: str | None = None) -> Any:
    """Do the same for a command that shows its steps already: two displays would collide.

    Messages call the data by its `name`; None: by what the command line chose.
    """
    if node is None:
        return None
    name = name or choice("data")
    shown = {"on_progress": partial(on_step, f"reading {name}")}
    return make(node, f"data {name}", "train", **(shown if _shows_progress(node) else {}))


def make_judge(node: Mapping[str, Any], what: str, needs: str, data: Any) -> Any:
    """Build the proxy that a node describes; its `data` is what was loaded already."""
    given = {"data": data} if "data" in node else {}
    left_out = {"risk", "n_trials", "data"}  # the first two are for the search
    return make({key: node[key] for key in node if key not in left_out}, what, needs, **given)


def _shows_progress(node: Mapping[str, Any]) -> bool:
    try:
        return "on_progress" in inspect.signature(get_method(str(node["_target_"]))).parameters
    except (KeyError, ValueError, TypeError, ImportError):  # `make` says what is wrong with it
        return False
