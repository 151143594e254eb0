"""Say how well a proxy orders networks: `python -m nas.fidelity proxy=... accuracies=<csv>`.

With `data=<name>` in place of a table, the networks are trained alone first; what is trained is
kept, so that the same command goes on after an interruption. The figures go to fidelity.json and
fidelity.html in the run folder.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from nas.chosen_data import load_data, make_judge
from nas.chosen_workers import ChosenWorkers
from nas.commands import choice, command, settings
from nas.fidelity.judgement import Judgement, Truths
from nas.fidelity.printed import print_judgement
from nas.fidelity.scoring import Storing, bars, check_proxy, scores_of, target_of
from nas.fidelity.selection import (
    STAND_IN,
    Selection,
    madds_table,
    random_networks,
    select,
    shuffled,
)
from nas.fidelity.settings import MAX_NETWORKS, N_TRAINED, SPACE, FidelitySettings
from nas.fidelity.trained import FIRST_SEED, train_truth
from nas.fidelity.truth import BENCH, Truth, read_truth
from nas.latency.hardware_tables import chosen_table
from nas.latency.table import LatencyTable
from nas.report.fidelity_page import render_fidelity
from nas.search.records import Proxy
from nas.showing_steps import showing_steps
from nas.space import SearchSpace
from nas.steps import OnStep
from nas.text import write_text
from nas.workers.trainings import TrainedAhead, ahead

if TYPE_CHECKING:
    from nas.proxies.short_train import ShortTrain


@command("fidelity")
def main(cfg: DictConfig) -> None:
    """Select the networks, get their accuracies, ask the proxy, and write what was found."""
    options = settings(cfg, FidelitySettings)
    options.check()
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    known, space = _known(options)
    table = chosen_table(options.hardware, options.table) or _stand_in(known, space)
    selection = _select(options, known, space, table)
    name = choice("proxy")
    data = load_data(options.data, console)
    proxy: Proxy = make_judge(options.proxy, f"proxy {name}", "predict", data)
    check_proxy(proxy, name, n=len(selection), has_space=space is not None)
    chosen = ChosenWorkers.of(options.workers, options.data, data, console)
    chosen.hire(proxy)
    get_truths = _looking_up(known) if known else _training(options, chosen)
    with showing_steps(console) as on_step:
        truths = get_truths(selection, on_step)
        scores = scores_of(
            _trained_ahead(proxy, options, chosen, selection, on_step),
            name,
            selection.archs,
            truths.top1[0],
            target=None if space is None else target_of(space, selection.median_ms),
            table=table,
            n_splits=options.n_splits,
            seed=options.seed,
            on_step=on_step,
        )
    judgement = Judgement.of(
        selection,
        truths,
        (scores, *bars(selection.archs)),
        facts=_facts(options, space, selection),
        notes=_notes(selection, proxy, known),
        n_bootstrap=options.n_bootstrap,
        seed=options.seed,
    )
    folder = Path(HydraConfig.get().runtime.output_dir)
    judgement.save(folder / "fidelity.json")
    write_text(folder / "fidelity.html", render_fidelity(judgement))
    print_judgement(judgement, console)
    for what, file in (("figures", "fidelity.json"), ("report", "fidelity.html")):
        console.print(f"{what}  {escape(str(folder / file))}")


def _trained_ahead(
    proxy: Proxy,
    options: FidelitySettings,
    chosen: ChosenWorkers,
    selection: Selection,
    on_step: OnStep,
) -> Proxy:
    """Return the proxy; one that trains has trained the selection, by the workers."""
    if not isinstance(proxy, Storing):
        return proxy
    with closing(chosen.trainers(options.proxy)) as workers:
        able = ahead(proxy, workers)
        if isinstance(able, TrainedAhead):
            n_all = len(selection) * able.repeats
            what = f"training for {choice('proxy')}"
            able.train_ahead(selection.archs, on_done=lambda done: on_step(what, done, n_all))
    asked: Proxy = able
    return asked


def _known(options: FidelitySettings) -> tuple[Truth | None, SearchSpace | None]:
    """Return the table of accuracies, where there is one, and the networks' space."""
    if options.accuracies is None:
        return None, SearchSpace.load(options.space or SPACE)
    known = read_truth(Path(options.accuracies), options.space)
    return known, known.space


def _select(
    options: FidelitySettings,
    known: Truth | None,
    space: SearchSpace | None,
    table: LatencyTable,
) -> Selection:
    if known is not None:
        n, candidates = min(len(known), MAX_NETWORKS), shuffled(known.archs, options.seed)
    elif space is not None:
        n, candidates = N_TRAINED, random_networks(space, options.seed)
    return select(candidates, table, n=options.n or n, n_band=options.n_band, band=options.band)


def _stand_in(known: Truth | None, space: SearchSpace | None) -> LatencyTable:
    layers = [layer for arch in (known.archs if known else ()) for layer in arch.layers]
    return madds_table([*layers, *(space.layers() if space else ())])


def _looking_up(known: Truth) -> Callable[[Selection, OnStep], Truths]:
    """Return what looks a selection's accuracies up in a table."""
    numbers = {arch.key(): number for number, arch in enumerate(known.archs)}

    def look_up(selection: Selection, _: OnStep) -> Truths:
        columns = [numbers[arch.key()] for arch in selection.archs]
        return Truths(origin=known.origin, top1=known.top1[:, columns])

    return look_up


def _training(
    options: FidelitySettings, chosen: ChosenWorkers
) -> Callable[[Selection, OnStep], Truths]:
    """Return what trains a selection; wrong options are found before that begins."""
    node = {**options.truth, "repeats": 1, "seed": FIRST_SEED}
    trainer: ShortTrain = make_judge(node, "truth", "train", chosen.data)
    epochs = trainer.recipe.epochs
    origin = f"{options.space or SPACE}, each trained for {epochs} epochs on {trainer.data.name}"

    def train(selection: Selection, on_step: OnStep) -> Truths:
        n_trainings = options.repeats
        archs = selection.archs
        with closing(chosen.trainers(node)) as workers:
            able = ahead(trainer, workers)
            return train_truth(able, archs, origin, n_trainings=n_trainings, on_step=on_step)

    return train


def _facts(
    options: FidelitySettings, space: SearchSpace | None, selection: Selection
) -> dict[str, str]:
    truth = f"table {options.accuracies}" if options.accuracies else f"data {choice('data')}"
    recipe = {} if options.accuracies else dict(options.truth.get("recipe") or {})
    return {
        "proxy": choice("proxy"),
        "accuracies": truth,
        **(
            {"recipe": ", ".join(f"{key} {value}" for key, value in recipe.items())}
            if recipe
            else {}
        ),
        "space": space.name if space else "none",
        "networks": f"{len(selection)}, {options.n_band} of them sought in the band",
        "latency": f"table {selection.table}, in {selection.unit}",
        "trainings of a network": str(options.repeats),
        "resampled sets": str(options.n_bootstrap),
        "seed": str(options.seed),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def _notes(selection: Selection, proxy: Proxy, known: Truth | None) -> list[str]:
    notes = []
    if selection.table == STAND_IN:
        notes.append(
            "MAdds stand in for latency in the band. Add +hardware=<name> or table=<csv> for ms."
        )
    sources = getattr(proxy, "provenance", {}).get("sources", ())
    if known is not None and BENCH in known.origin and BENCH in str(sources):
        notes.append(
            f"This proxy was fitted on the networks of {BENCH}: its figures here are no test of it."
        )
    return notes


if __name__ == "__main__":
    main()
