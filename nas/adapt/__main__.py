"""Cut a network layer by layer until it meets a latency: `python -m nas.adapt arch=... ...`.

python -m nas.adapt arch=mobilenet_v3_large +hardware=pixel_cpu target_ms=33

The shipped surrogate judges the cuts; with `checkpoint=<file> data=<name>` each is trained on for a
while with the weights that it inherits. Interrupted, the same command with the same
hydra.run.dir= goes on.
"""

import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from nas.adapt.judges import FineTuning, Judge, ProxyJudge
from nas.adapt.measuring import measuring
from nas.adapt.netadapt import NetAdapt, check_target
from nas.adapt.prices import KnownPrices, MeasuredPrices, ModelledPrices, Prices
from nas.adapt.settings import AdaptSettings
from nas.adapt.trajectory import Trajectory, csv_of
from nas.arch import Arch
from nas.chosen_data import make_judge, read_data
from nas.commands import choice, command, require_choice, settings
from nas.errors import NasError
from nas.latency.cost_model import COST_MODELS, CostModel
from nas.latency.table import LatencyTable
from nas.locks import folder_claimed
from nas.network.checkpoint import Checkpoint
from nas.paths import find
from nas.report.adaptation_page import render_adaptation
from nas.results import file_hash
from nas.showing_steps import showing_steps
from nas.steps import OnStep
from nas.text import write_text
from nas.training.required import recipe_of


@command("adapt")
def main(cfg: DictConfig) -> None:
    """Prepare prices and judge, take the steps, and write what came of them."""
    options = settings(cfg, AdaptSettings)
    if options.table is None:
        require_choice(cfg, "hardware", "nas.adapt arch=mobilenet_v3_large target_ms=33")
    options.check()
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    folder = Path(HydraConfig.get().runtime.output_dir)
    checkpoint = None if options.checkpoint is None else Checkpoint.load(options.checkpoint)
    arch, table = _arch(options, checkpoint), options.chosen_table()
    assert table is not None, "a hardware or a table is chosen"
    with folder_claimed(folder), showing_steps(console, is_timing=options.measure) as on_step:
        prices = _prices(options, table, folder, on_step)
        check_target(arch, options.target, prices)
        data = read_data(options.data, on_step)
        identity = _identity(options, arch, table, data)
        adaptation = NetAdapt(
            arch=arch,
            target_ms=options.target,
            prices=prices,
            judge=_judge(options, checkpoint, data, folder),
            trajectory=Trajectory(folder / "steps.jsonl", identity),
            share=options.share,
        )
        try:
            _take_steps(adaptation, on_step, console)
        finally:
            _write(adaptation, folder, console)


def _arch(options: AdaptSettings, checkpoint: Checkpoint | None) -> Arch:
    if checkpoint is None:
        return options.chosen_arch()
    if options.arch is not None:
        named = options.chosen_arch().with_num_classes(checkpoint.arch.num_classes)
        if named.key() != checkpoint.arch.key():
            raise NasError(
                f"{options.checkpoint} holds {checkpoint.arch.name} ({checkpoint.arch.key()}), but "
                f"arch={options.arch} is another network ({named.key()}). Leave out arch=."
            )
    return checkpoint.arch


def _prices(options: AdaptSettings, table: LatencyTable, folder: Path, on_step: OnStep) -> Prices:
    hardware = options.hardware or {}
    if options.measure:
        if not hardware:
            raise NasError("measure=true must know the device. Add +hardware=<name>.")
        path = folder / f"{table.name}.csv"
        known = LatencyTable.load(path) if path.exists() else table
        return MeasuredPrices(known, measuring(table, hardware, path, on_step))
    if hardware.get("cost_model"):
        return ModelledPrices(table, CostModel.load(str(hardware["cost_model"])))
    return KnownPrices(table)


def _judge(options: AdaptSettings, checkpoint: Checkpoint | None, data: Any, folder: Path) -> Judge:
    if checkpoint is not None:
        return FineTuning(
            checkpoint,
            data,
            recipe_of(options.recipe),
            folder,
            seed=options.seed,
            device=options.device,
            threads=options.threads,
        )
    name = choice("proxy")
    proxy = make_judge(options.proxy, f"proxy {name}", "predict", data)
    if hasattr(proxy, "prepare"):
        raise NasError(
            f"proxy {name} learns a search space first, but the cuts leave every space. Choose "
            "proxy=surrogate or proxy=short_train, or checkpoint=<file> with data=<name>."
        )
    return ProxyJudge(proxy, float(options.proxy.get("risk", 0)))


def _identity(options: AdaptSettings, arch: Arch, table: LatencyTable, data: Any) -> dict[str, Any]:
    """Return what two runs must share for one to continue the other."""
    checkpoint, cost_model = options.checkpoint, (options.hardware or {}).get("cost_model")
    return {
        "network": arch.key(),
        "table": table.digest(),
        "cost_model": cost_model and file_hash(find(COST_MODELS, str(cost_model), ".json")),
        "measure": options.measure,
        "share": options.share,
        "proxy": options.proxy if checkpoint is None else None,
        "checkpoint": None if checkpoint is None else file_hash(Path(checkpoint)),
        "data": None if data is None else data.digest,
        "recipe": None if checkpoint is None else recipe_of(options.recipe).digest(),
        "seed": options.seed,
    }


def _take_steps(adaptation: NetAdapt, on_step: OnStep, console: Console) -> None:
    steps = adaptation.trajectory.steps
    if steps:
        console.print(f"going on from {len(steps) - 1} steps")
    for step in adaptation.run(on_step):
        console.print(f"{step.ms:8.3f} ms  {step.top1:6.2f} %  {escape(step.what)}")


def _write(adaptation: NetAdapt, folder: Path, console: Console) -> None:
    steps, judge = adaptation.trajectory.steps, adaptation.judge
    if not steps:
        return
    first, last = steps[0], steps[-1]
    last.arch.save(folder / "adapted.yaml")
    write_text(folder / "trajectory.csv", csv_of(steps))
    facts = {"target": f"{adaptation.target_ms:g} ms", "date": time.strftime("%Y-%m-%d %H:%M")}
    write_text(folder / "adaptation.html", render_adaptation(steps, facts))
    console.print(
        f"{escape(first.arch.name)}: {first.ms:.3f} ms, {first.top1:.2f} % to {last.ms:.3f} ms, "
        f"{last.top1:.2f} % in {len(steps) - 1} steps"
    )
    names = ["adapted.yaml", "trajectory.csv", "adaptation.html"]
    if isinstance(judge, FineTuning):
        judge.present.save(folder / "adapted.safetensors")
        names.insert(1, "adapted.safetensors")
    for name in names:
        console.print(f"{name:20s} {escape(str(folder / name))}")


if __name__ == "__main__":
    main()
