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

from nas.ablation import chosen_arch
from nas.chosen_data import load_data
from nas.commands import command, settings
from nas.errors import NasError
from nas.export.settings import LIKE, ExportSettings
from nas.export.tables import predicting_table, require_rows
from nas.latency.devices.local import LocalDevice
from nas.latency.devices.registry import load_device
from nas.showing_steps import showing_steps

if TYPE_CHECKING:
    from nas.export.subject import Subject
    from nas.latency.measure import Setting

HERE = "this machine"


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
    table = predicting_table(options)
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    subject, setting = _subject(options), _setting(options)
    if table is not None:
        require_rows(table, subject.arch, options)
    data = load_data(options.data, console)
    if data is not None:
        subject.check_data(data)

    from nas.export.exporting import export

    folder = Path(HydraConfig.get().runtime.output_dir)
    with showing_steps(console, is_timing=True) as on_step:
        exported = export(subject, setting, options, data, table, folder, on_step)
    for title, text in exported.lines().items():
        console.print(f"{title:9}  {escape(text)}")


def _subject(options: ExportSettings) -> "Subject":
    """Return the network of the command line."""
    arch = None
    if options.arch is not None:
        arch = chosen_arch(options.arch, options.width, options.resolution, options.ablate)
    elif options.width != 1 or options.ablate is not None:
        raise NasError(
            "width and ablate change the network of arch=, but there is none. Leave them out."
        )

    from nas.export.subject import trained, untrained

    if options.checkpoint is not None:
        return trained(options.checkpoint, arch, options.resolution)
    assert arch is not None
    return untrained(arch)


def _setting(options: ExportSettings) -> "Setting":
    """Return where the file is run and timed: on the hardware, if that can be measured, or here."""
    from nas.latency.measure import Setting
    from nas.latency.runtimes.registry import load_runtime

    variant, hardware = options.variant, options.hardware
    runtime = load_runtime(variant.name, variant.dtype, variant.mode)
    _ = runtime.versions  # a missing package is said before data are read
    if hardware is None or hardware.device == "modelled":
        return Setting(hardware=HERE, device=LocalDevice(), runtime=runtime)
    setting = Setting.of(hardware, load_device(hardware.device, hardware.connection), runtime)
    setting.facts()  # and so is a device that cannot be reached
    return setting


if __name__ == "__main__":
    main()
