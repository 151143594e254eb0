"""Show on a terminal what is being done, how much of it is done, and the time left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from nas.steps import OnStep


@contextmanager
def showing_steps(console: Console) -> Iterator[OnStep]:
    """Show a bar for each kind of work while it goes on; nothing where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    is_seen = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not is_seen) as progress:
        tasks: dict[str, TaskID] = {}

        def on_step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(escape(what), total=total)
            # What is done makes room: an adaptation has dozens of steps, a terminal few lines.
            is_left = done < total
            progress.update(tasks[what], completed=done, total=total, visible=is_left)

        yield on_step
