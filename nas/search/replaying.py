"""Repeat a trial of a run folder: `python -m nas.search replay=<run folder> trial=17`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.chosen_data import load_data, make_judge
from nas.commands import choice, require_choice, settings
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.results import environment
from nas.search.journal import read_trials
from nas.search.options import (
    SearchSettings,
    check,
    identity_of,
    named_targets,
    table_of,
    targets_of,
)
from nas.search.records import Finished, Learner, Proxy, Target, Trainer
from nas.search.replay import Figure, RunRecord, differences, figures, repeated
from nas.search.storage import FINISHED
from nas.showing_steps import showing_steps
from nas.text import write_text


def replay(cfg: DictConfig) -> bool:
    """Repeat the trial in each study that `targets=` names, and tell whether all figures agree.

    Raises:
        NasError: the run folder does not say enough, or what it names is not there any more.
    """
    record = RunRecord.read(Path(str(cfg.replay)))
    require_choice(cfg, "hardware", "nas.search")
    given = settings(cfg, SearchSettings)
    if given.trial is None or given.trial < 0:
        raise NasError(f"trial= must be the number of a trial to repeat, but is {given.trial}.")
    options = settings(OmegaConf.create(record.over(asdict(given))), SearchSettings)
    check(options)
    console = Console(emoji=False)
    wanted = [name for name in named_targets(options) if options.space or name in given.targets]
    trials = {name: _trial(record, options, name) for name in wanted}
    table = table_of(options)
    every = targets_of(options, table, console)
    targets = [one for one in every if one.name in trials]
    data = load_data(options.data, console)
    for change in differences(record, identity_of(options, every, data), environment()):
        console.print(f"[yellow]changed:[/] {escape(change)}", soft_wrap=True)
    with TemporaryDirectory() as folder:
        proxy = _proxy(options, data, folder)
        if isinstance(proxy, Learner):
            with showing_steps(console) as on_step:
                proxy.prepare(every, table, on_step)
        found = {
            target.name: _figures(trials[target.name], target, table, proxy) for target in targets
        }
    _write(found, record)
    for name, rows in found.items():
        console.print(_shown(name, given.trial, rows))
    agrees = all(row.agrees for rows in found.values() for row in rows)
    console.print("the trial repeats" if agrees else "[yellow]the trial does not repeat[/]")
    return agrees


def _trial(record: RunRecord, options: SearchSettings, study: str) -> FrozenTrial:
    shared = record.identity.get("study")
    if shared and options.storage is None:  # a run folder may not say where passwords are sent
        raise NasError(
            f"the trials of {record.path} are in a storage that commands share, "
            f"{record.options.get('storage')}. If you trust it, add storage=<its address>."
        )
    if shared:
        trials = _shared_trials(str(options.storage), f"{shared}-{study}")
    else:
        trials = read_trials(record.path / "study.journal", study)
    for trial in trials:
        if trial.number == options.trial:
            return trial
    last = max((trial.number for trial in trials), default=-1)
    raise NasError(
        f"study {study} of {record.path} has no trial {options.trial}: they go from 0 to {last}. "
        "Choose another trial=, or another study by targets=."
    )


def _shared_trials(address: str, study: str) -> list[FrozenTrial]:
    from nas.search.connection import connect  # with sqlalchemy, which takes a while

    connection = connect(address)
    try:
        opened = optuna.load_study(storage=connection.storage, study_name=study)
        return opened.get_trials(deepcopy=False, states=FINISHED)
    except KeyError as error:
        raise NasError(f"{address} has no study {study}. Check storage=.") from error
    finally:
        connection.close()


def _proxy(options: SearchSettings, data: Any, folder: str) -> Proxy:
    what = f"proxy {choice('proxy')}"
    proxy: Proxy = make_judge(options.proxy, what, "predict", data)
    if isinstance(proxy, Trainer) and "folder" in options.proxy:
        # Apart from what is stored, or nothing would be repeated.
        proxy = make_judge({**options.proxy, "folder": folder}, what, "predict", data)
    return proxy


def _figures(trial: FrozenTrial, target: Target, table: LatencyTable, proxy: Proxy) -> list[Figure]:
    finished = Finished.of(trial, trial.number)
    return figures(finished, repeated(finished, target, table, proxy), target)


def _write(found: Mapping[str, list[Figure]], record: RunRecord) -> None:
    content = {
        "run": str(record.path),
        "studies": {
            name: {row.name: {"recorded": row.recorded, "repeated": row.repeated} for row in rows}
            for name, rows in found.items()
        },
    }
    path = Path(HydraConfig.get().runtime.output_dir) / "replay.json"
    write_text(path, json.dumps(content, indent=2) + "\n")


def _shown(study: str, trial: int, rows: list[Figure]) -> Table:
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for heading in (f"{escape(study)}, trial {trial}", "recorded", "repeated", ""):
        shown.add_column(heading)
    for row in rows:
        shown.add_row(
            row.name, _text(row.recorded), _text(row.repeated), "" if row.agrees else "differs"
        )
    return shown


def _text(value: float | str) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.6f}"
