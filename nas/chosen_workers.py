"""Make the workers that the command line chose, for what it has judged or trained."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, runtime_checkable

from rich.console import Console
from rich.markup import escape

from nas.chosen_data import make_judge
from nas.commands import choice, make
from nas.workers.contract import Staff, Task, Work, Workers
from nas.workers.jobs import Judging, judge
from nas.workers.local import Local


@runtime_checkable
class Employer(Protocol):
    """A proxy that has networks trained while it learns, by workers where it is given any."""

    start_workers: Callable[[], Workers] | None

    def trainer_node(self) -> dict[str, Any]:
        """Return the config node of what trains."""


@dataclass(frozen=True, kw_only=True)
class ChosenWorkers:
    """What a command's workers are made from; `data` is what `data_node` made in this process."""

    staff: Staff
    data_node: Mapping[str, Any] | None
    data: Any
    console: Console

    @classmethod
    def of(
        cls,
        node: Mapping[str, Any],
        data_node: Mapping[str, Any] | None,
        data: Any,
        console: Console,
    ) -> Self:
        """Read a node of conf/workers.

        Raises:
            NasError: options that are wrong.
        """
        staff: Staff = make(node, f"workers {choice('workers')}", "start")
        return cls(staff=staff, data_node=data_node, data=data, console=console)

    def judges(
        self, node: Mapping[str, Any], what: str, proxy: Any, *, trains: bool, learns: bool
    ) -> Workers:
        """Return who asks a proxy: it `trains` each network, or it `learns` and answers here.

        What it has learned here, no other process knows. A proxy that learns from trainings gets
        workers for those.

        Raises:
            NasError: the workers cannot be had.
        """
        self.hire(proxy)
        task = self._task(node, what, "predict", proxy, is_dear=trains and _trains_on_a_cpu(proxy))
        return Local().start(task) if learns else self._start(task)

    def hire(self, proxy: Any) -> None:
        """Give a proxy that learns from trainings whoever does those."""
        if isinstance(proxy, Employer) and self.data is not None:
            proxy.start_workers = partial(self.trainers, proxy.trainer_node())

    def trainers(self, node: Mapping[str, Any]) -> Workers:
        """Return who does what the `train(arch, seed)` of a node's object would.

        Raises:
            NasError: the workers cannot be had.
        """
        trainer = make_judge(node, "trainer", "train", self.data)
        task = self._task(node, "trainer", "train", trainer, is_dear=_trains_on_a_cpu(trainer))
        return self._start(task)

    def _start(self, task: Task) -> Workers:
        workers = self.staff.start(task)
        if workers.n > 1:
            name = escape(choice("workers"))
            self.console.print(f"workers: {workers.description} (workers={name})")
        return workers

    def _task(
        self, node: Mapping[str, Any], what: str, needs: str, here: Any, *, is_dear: bool
    ) -> Task:
        def work_here() -> Work:
            return partial(judge, here)

        return Task(
            function="nas.workers.judge:judging",
            options={
                "node": {key: node[key] for key in node if key != "data"},
                "what": what,
                "needs": needs,
                "data": self.data_node if "data" in node else None,
                "digest": None if self.data is None else self.data.digest,
                "folder": os.getcwd(),
            },
            plain=Judging.plain,
            here=work_here,
            is_dear=is_dear,
        )


def _trains_on_a_cpu(trainer: Any) -> bool:
    # On a GPU, processes beside each other would share its memory.
    from nas.training.batches import device_named  # with torch, which only trainings need

    return device_named(getattr(trainer, "device", "cpu")).type == "cpu"
