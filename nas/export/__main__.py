"""Export a trained network: `python -m nas.export checkpoint=<file> format=onnx`.

The file is run by its runtime, compared with torch and timed before it is written, with a script
that runs it without this project and export.json, which has the figures, beside it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from nas.arch import Arch
from nas.chosen_data import load_data
from nas.commands import command, settings
from nas.errors import NasError
from nas.export.settings import LIKE, ExportSettings
from nas.latency.breakdown import Breakdown, layers_command
from nas.latency.hardware_tables import (
    hardware_of,
    hardware_table,
    measuring_options,
    named_table,
    table_names,
)
from nas.latency.settings import HardwareSettings, LatencySettings
from nas.latency.table import LatencyTable
from nas.showing_steps import showing_steps

if TYPE_CHECKING:
    from nas.export.subject import Subject


@command("export")
def main(cfg: DictConfig) -> None:
    """Load the network, export it, and say what became of it."""
    if OmegaConf.is_missing(cfg, "checkpoint"):
        raise NasError(
            f"checkpoint must name trained weights: {LIKE}, which python -m nas.train writes. To "
            "measure the latency of an untrained network: checkpoint=null arch=<name>"
        )
    options = settings(cfg, ExportSettings)
    options.validate()
    table = _table(options, cfg)
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    subject = _subject(options)

    from nas.export.exporting import export
    from nas.latency.runtimes.registry import load_runtime

    variant = options.variant
    runtime = load_runtime(variant.name, variant.dtype, variant.mode)
    _ = runtime.versions  # a missing package is said before data are read
    if table is not None:
        hardware = (options.hardware or {}).get("name") or hardware_of(table)
        more = measuring_options(hardware, table, options.table)
        adding = layers_command(hardware, table.missing(subject.arch), more)
        Breakdown.of(subject.arch, table, adding)
    data = load_data(options.data, console)
    if data is not None:
        subject.check_data(data)
    with showing_steps(console) as on_step:
        exported = export(
            subject,
            runtime,
            options,
            data,
            table,
            Path(HydraConfig.get().runtime.output_dir),
            on_step,
        )
    for title, text in exported.lines().items():
        console.print(f"{title:9}  {escape(text)}")


def _subject(options: ExportSettings) -> "Subject":
    """Return the network of the command line."""
    arch = None
    if options.arch is not None:
        arch = Arch.load(options.arch).scaled(options.width, options.resolution)
    elif options.width != 1:
        raise NasError("width scales the network of arch=, but there is none. Leave it out.")

    from nas.export.subject import trained, untrained

    if options.checkpoint is not None:
        return trained(options.checkpoint, arch, options.resolution)
    assert arch is not None
    return untrained(arch)


def _table(options: ExportSettings, cfg: DictConfig) -> LatencyTable | None:
    """Return the table that predicts the latency: the hardware's for that runtime and dtype."""
    if options.table is not None:
        return named_table(options.table, "table")
    if options.hardware is None:
        return None
    hardware = settings(cfg.hardware, HardwareSettings)
    chosen = LatencySettings(hardware=hardware)
    if not chosen.is_modelled:
        chosen.runtime, chosen.dtype, chosen.mode = (
            options.variant.name,
            options.dtype,
            options.mode,
        )
    name = chosen.path.stem
    if name != hardware.table and name not in table_names():
        words = {"runtime": chosen.runtime, "dtype": chosen.dtype, "mode": chosen.mode}
        more = " ".join(
            f"{key}={word}"
            for key, word in words.items()
            if word not in (None, getattr(hardware, key))
        )
        raise NasError(
            f"hardware {hardware.name} has no latency_tables/{name}.csv yet. Write it: "
            f"python -m nas.latency +hardware={hardware.name} {more}"
        )
    return hardware_table(hardware.name, name)


if __name__ == "__main__":
    main()
