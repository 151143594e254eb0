"""Fit the latency cost models of the Pixel phones and say how well they predict.

python -m nas.latency.fit data=pixel_blocks.csv
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from nas.commands import command, settings
from nas.errors import NasError, unknown
from nas.latency.fit_cost_model import CostModelFit
from nas.latency.fit_report import MeanErrors, mean_errors, summary
from nas.latency.timed_blocks import DEVICES, read_timed_blocks


@dataclass(kw_only=True)
class FitSettings:
    """The options of conf/fit.yaml, typed."""

    data: str | None = None
    device: str = "all"
    out: str = "latency_tables/cost_models"
    leave_out: bool = False
    seed: int = 0
    source: str = ""
    licence: str = ""


@command("fit")
def main(cfg: DictConfig) -> None:
    """Fit, cross-validate, write a file for each device and print the errors."""
    options = settings(cfg, FitSettings)
    if options.data is None:
        raise NasError("data must name a CSV of timed blocks: data=<csv>.")
    if options.device not in (*DEVICES, "all"):
        raise unknown("device", options.device, [*DEVICES, "all"])
    devices = list(DEVICES) if options.device == "all" else [options.device]
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with console.status("reading the timed blocks"):
        fitted = CostModelFit(read_timed_blocks(options.data))
    errors: dict[str, MeanErrors] = {}
    for device in devices:
        with console.status(f"fitting {device}"):
            errors[device] = _write(fitted, device, out, options)
    console.print(_table(errors))
    console.print(f"Wrote {', '.join(f'{out / device}.json' for device in devices)}")


def _write(fitted: CostModelFit, device: str, out: Path, options: FitSettings) -> MeanErrors:
    ms = fitted.blocks.ms[device]
    errors = mean_errors(fitted, ms, seed=options.seed, with_groups=options.leave_out)
    provenance: dict[str, Any] = {
        "source": options.source,
        "licence": options.licence,
        "n_rows": len(fitted.blocks),
        "seed": options.seed,
        "mean_errors_percent": errors,
    }
    model = replace(fitted.fit(ms, device=device), provenance=provenance)
    model.save(out / f"{device}.json")
    return errors


def _table(errors: Mapping[str, MeanErrors]) -> Table:
    table = Table(title="mean |relative error| in %, on blocks that were left out")
    table.add_column("left out")
    for device in errors:
        table.add_column(device, justify="right")
    lines = {device: summary(found) for device, found in errors.items()}
    for name in lines[next(iter(lines))]:
        table.add_row(name, *(f"{found[name]:.2f}" for found in lines.values()))
    return table


if __name__ == "__main__":
    main()
