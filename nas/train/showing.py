"""Show a training in full on a terminal or in a log."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape

from nas.showing_steps import showing_steps
from nas.steps import OnStep
from nas.training.full.watching import EpochRow, Watch


def console() -> Console:
    """Return the console of the command; a log has room for a wide table."""
    shown = Console(emoji=False, highlight=False, soft_wrap=True)
    if not shown.is_terminal:
        shown.width = 160
    return shown


@contextmanager
def watching() -> Iterator[Watch]:
    """Show a bar while a training goes on, and a line for each epoch."""
    shown = console()
    with showing_steps(shown) as on_step:
        yield watch_of(shown, on_step)


def watch_of(shown: Console, on_step: OnStep, prefix: str = "") -> Watch:
    """Return a watch that prints lines, which begin with a prefix."""
    rows: list[EpochRow] = []

    def on_epoch(row: EpochRow, n_epochs: int) -> None:
        rows.append(row)
        seconds = sum(one.seconds for one in rows) / len(rows)
        shown.print(prefix + line_of(row, n_epochs, seconds))

    def say(text: str) -> None:
        shown.print(prefix + escape(text))

    return Watch(on_step=on_step, on_epoch=on_epoch, say=say)


def line_of(row: EpochRow, n_epochs: int, seconds_per_epoch: float) -> str:
    """Return what is said of an epoch."""
    left = timedelta(seconds=round((n_epochs - row.epoch) * seconds_per_epoch))
    return (
        f"epoch {row.epoch:>{len(str(n_epochs))}} of {n_epochs}  loss {row.loss:.4f}  "
        f"validation top-1 {row.top1:.2f} %, top-5 {row.top5:.2f} %  "
        f"{row.images_per_second:.0f} images/s, {row.data_percent:.0f} % waiting for data  "
        f"left {left}"
    )


def final_line(metrics: dict[str, Any]) -> str:
    """Return what is said at the end."""
    chosen = "the best on its validation part"
    if metrics["part"] == "validation":
        chosen = "the best on these images: there is no test part, so it is a little too good"
    return (
        f"[bold]{escape(metrics['network'])}[/]: top-1 {metrics['top1']:.2f} %, "
        f"top-5 {metrics['top5']:.2f} % of the {metrics['n_images']:,} {metrics['part']} images of "
        f"{escape(metrics['data'])}; weights of epoch {metrics['best_epoch']} of "
        f"{metrics['epochs']}, {chosen}"
    )
