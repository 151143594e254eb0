"""Bars: drawn on terminals alone, by no thread where something is timed, and few at a time."""

import io
import threading

import pytest
from rich.console import Console

from nas.showing_steps import showing_steps


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=8)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("is_timing", [False, True])
def test_no_thread_draws_while_something_is_timed(is_timing: bool) -> None:
    console, n_threads = terminal(), threading.active_count()
    with showing_steps(console, is_timing=is_timing) as on_step:
        on_step("timing", 1, 3)
        assert threading.active_count() == n_threads + (not is_timing)
        if is_timing:
            assert "timing" in written(console)


def test_what_is_done_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.showing_steps.REFRESH_S", 0)
    console = terminal()  # of 8 lines
    with showing_steps(console, is_timing=True) as on_step:
        for number in range(20):
            on_step(f"step {number}", 1, 1)
        on_step("step 20", 1, 2)
        assert "step 20" in written(console)


def test_nothing_is_written_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO())
    with showing_steps(console) as on_step:
        on_step("anything", 1, 2)
    assert not written(console).strip()
