"""Fit and cross-validate the accuracy surrogate.

python -m nas.proxies.fit data=<csv> published=<csv> out=<json>
"""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from nas.commands import command
from nas.errors import NasError
from nas.proxies.accuracy_data import read_samples
from nas.proxies.fit_surrogate import Errors, SurrogateFit

SOURCES = (
    "Accel-NASBench (Apache-2.0): 4,000 networks trained on ImageNet for 16 epochs",
    "MobileNetV1 (arXiv:1704.04861), V2 (arXiv:1801.04381), MnasNet (arXiv:1807.11626), "
    "V3 (arXiv:1905.02244) and their code's model tables: ImageNet top-1 of full training",
)


@command("fit_surrogate")
def main(cfg: DictConfig) -> None:
    """Cross-validate, fit on everything, write the file and print the figures."""
    data, published = (_path(cfg, name) for name in ("data", "published"))
    fit = SurrogateFit(read_samples(data, published))
    folds = list(fit.cross_validate())
    families = fit.leave_families_out()
    together = Errors.joined(list(families.values()))
    figures = {
        "kendall_tau_16_epochs": round(float(np.mean([fold.tau for fold in folds])), 4),
        "spearman_left_out_families": round(together.spearman, 4),
    }
    surrogate = fit.fit(
        doubt_factor=round(max(errors.rms_in_doubts for errors in families.values()), 3),
        provenance={"sources": SOURCES, "cross_validated": figures},
    )
    surrogate.save(cfg.out)
    console = Console()
    console.print(_table(folds, {**families, "all families": together}))
    console.print(f"written: {cfg.out}")


def _path(cfg: DictConfig, name: str) -> Path:
    if cfg[name] is None:
        raise NasError(
            f"{name} must be a CSV file. "
            "Type: python -m nas.proxies.fit data=<csv> published=<csv> out=<json>"
        )
    return Path(cfg[name])


def _table(folds: list[Errors], families: dict[str, Errors]) -> Table:
    table = Table(title="Networks left out of the fit")
    for heading in ("left out", "networks", "rank correlation", "bias, %", "rms, %"):
        table.add_column(heading, justify="left" if heading == "left out" else "right")
    for number, fold in enumerate(folds, start=1):
        table.add_row(f"fold {number}", str(len(fold.truth)), f"tau {fold.tau:.4f}", "", "")
    table.add_section()
    for name, errors in families.items():
        rank = f"Spearman {errors.spearman:.3f}"
        count = str(len(errors.truth))
        table.add_row(name, count, rank, f"{errors.bias:+.2f}", f"{errors.rms:.2f}")
    return table


if __name__ == "__main__":
    main()
