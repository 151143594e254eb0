"""Show on a terminal what is being done, how much of it is done, and the time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

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

# Drawing costs milliseconds on the core that is being timed on.
REFRESH_S = 0.25


@contextmanager
def showing_steps(console: Console, *, is_timing: bool = False) -> Iterator[OnStep]:
    """Show a bar for each kind of work while it goes on; nothing where there is no terminal.

    Where something `is_timing`, the bars are drawn between its steps alone, as a drawing thread
    would disturb it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    is_seen = console.is_terminal
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not is_seen,
        auto_refresh=not is_timing,
    ) as progress:
        tasks: dict[str, TaskID] = {}
        drawn_s = 0.0

        def on_step(what: str, done: int, total: int) -> None:
            nonlocal drawn_s
            if what not in tasks:
                tasks[what] = progress.add_task(escape(what), total=total)
            # What is done makes room: an adaptation has dozens of steps, a terminal few lines.
            is_left = done < total
            progress.update(tasks[what], completed=done, total=total, visible=is_left)
            if is_timing and monotonic() - drawn_s > REFRESH_S:
                progress.refresh()
                drawn_s = monotonic()

        yield on_step
