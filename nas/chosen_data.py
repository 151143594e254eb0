"""Load the data set that the command line chose, and show how much of it is decoded."""

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_method
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.commands import choice, make

_COLUMNS = (
    TextColumn("reading {task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
)


def load_data(node: Mapping[str, Any] | None, console: Console) -> Any:
    """Return the `ImageData` that a node of conf/data describes, None where none is chosen.

    Raises:
        NasError: it cannot be read.
    """
    if node is None:
        return None
    name = choice("data")
    is_seen = console.is_terminal
    with Progress(*_COLUMNS, console=console, transient=True, disable=not is_seen) as progress:

        def on_progress(done: int, total: int) -> None:
            if not progress.tasks:
                progress.add_task(name, total=total)
            progress.update(progress.task_ids[0], completed=done)

        given = {"on_progress": on_progress} if _shows_progress(node) else {}
        return make(node, f"data {name}", "train", **given)


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
