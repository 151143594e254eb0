"""A run: its targets are searched one after the other, and its folder filled as they go."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.arch import Arch
from nas.baselines import baselines
from nas.latency.table import LatencyTable
from nas.results import RunFolder, TrialsFile
from nas.search.outcome import Compared, compare, comparison_table, write_files
from nas.search.records import Learner, Proxy, Trainer
from nas.search.study import TargetSearch
from nas.showing_steps import showing_steps
from nas.workers.contract import Workers
from nas.workers.jobs import JudgedByWorkers

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[best]}"),
    TextColumn("left"),
    TimeRemainingColumn(),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The searches of one command, on one table and with one proxy; `workers` ask it."""

    folder: RunFolder
    table: LatencyTable
    proxy: Proxy
    workers: Workers
    searches: Sequence[TargetSearch]
    facts: Mapping[str, str]
    console: Console

    def execute(self) -> None:
        """Run every trial that is left; what is finished is written also when it is cut short."""
        try:
            self._prepare()
            compared = self._compare()
            self._search(compared)
        except KeyboardInterrupt:
            path = escape(str(self.folder.path))
            self.console.print(f"to go on, add hydra.run.dir={path}", soft_wrap=True)
            raise

    def _prepare(self) -> None:
        if isinstance(self.proxy, Learner):
            with showing_steps(self.console) as on_step:
                targets = [search.target for search in self.searches]
                self.proxy.prepare(targets, self.table, on_step)

    def _compare(self) -> Compared:
        """Judge the hand-designed networks; a proxy that trains judges the references alone."""
        archs = baselines()
        if isinstance(self.proxy, Trainer):
            references = {search.target.space.reference for search in self.searches}
            archs = [arch for arch in archs if arch.name in references]
        with showing_steps(self.console) as on_step:
            return compare(archs, self.table, JudgedByWorkers(workers=self.workers), on_step)

    def _search(self, compared: Compared) -> None:
        finished = [
            one.row(search.target.name) for search in self.searches for one in search.finished
        ]
        if finished:
            self.console.print(f"going on from {len(finished)} finished trials")
        trials = self.folder.open_trials(finished)
        seconds: dict[str, float] = {}
        try:
            for search in self.searches:
                begun = time.perf_counter()
                try:
                    self._run(search, trials)
                finally:
                    seconds[search.target.name] = time.perf_counter() - begun
        finally:
            trials.close()
            self._conclude(compared, seconds)

    def _run(self, search: TargetSearch, trials: TrialsFile) -> None:
        target = search.target
        if target.space.reference:
            search.start_from(Arch.load(target.space.reference))
        with Progress(*COLUMNS, console=self.console) as progress:
            task = progress.add_task(escape(target.name), total=target.n_trials, best="")
            progress.update(task, completed=len(search.finished))
            winner = None
            for finished in search.run():
                trials.add(finished.row(target.name))
                if search.winner is not None and search.winner is not winner:
                    winner = search.winner
                    arch = search.named_arch(winner, target.name)
                    arch.save(self.folder.winner_file(target.name))
                progress.update(task, completed=len(search.finished), best=_best(search))

    def _conclude(self, compared: Compared, seconds: Mapping[str, float]) -> None:
        searches = [search for search in self.searches if search.whole]
        if not searches:
            return
        rows = write_files(self.folder, searches, compared.candidates, self.facts, seconds)
        self.console.print(comparison_table(rows))
        for reason, names in compared.left_out.items():
            listed = escape(", ".join(names))
            self.console.print(f"{escape(reason)}, so not compared: {listed}")
        for search in searches:
            winner = search.winner
            if winner is None:
                self.console.print(
                    f"[yellow]{escape(search.target.name)}: no network within "
                    f"{search.target.target_ms:.2f} ms was found; the fastest is kept.[/]"
                )
            self._say_path("winner", self.folder.winner_file(search.target.name))
        self._say_path("report", self.folder.report)

    def _say_path(self, what: str, path: Path) -> None:
        self.console.print(f"{what}  {escape(str(path))}", soft_wrap=True)


def _best(search: TargetSearch) -> str:
    best = search.winner
    if best is None:
        return f"none yet within {search.target.target_ms:.2f} ms"
    return f"best {best.evaluation.top1:.2f} % in {best.evaluation.ms:.2f} ms"
