"""The latency table that predicts an exported file: the hardware's for that runtime and dtype."""

from nas.arch import Arch
from nas.errors import NasError
from nas.export.settings import ExportSettings
from nas.latency.breakdown import Breakdown, layers_command
from nas.latency.hardware_tables import (
    hardware_of,
    hardware_table,
    measuring_options,
    named_table,
    table_names,
)
from nas.latency.settings import CHOICES, HardwareSettings, LatencySettings
from nas.latency.table import LatencyTable


def predicting_table(options: ExportSettings) -> LatencyTable | None:
    """Return the table that the command line names, None where it names neither.

    Raises:
        NasError: there is no such table yet; the message ends with the command that makes it.
    """
    if options.table is not None:
        return named_table(options.table, "table")
    if options.hardware is None:
        return None
    hardware, variant = options.hardware, options.variant
    chosen = LatencySettings(hardware=hardware)
    if not chosen.is_modelled:
        chosen.runtime, chosen.dtype, chosen.mode = variant.name, variant.dtype, options.mode
    name = chosen.path.stem
    if name != hardware.table and name not in table_names():
        raise NasError(
            f"hardware {hardware.name} has no latency_tables/{name}.csv yet. Write it: "
            f"python -m nas.latency +hardware={hardware.name} {_own_words(chosen, hardware)}"
        )
    return hardware_table(hardware.name, name)


def require_rows(table: LatencyTable, arch: Arch, options: ExportSettings) -> None:
    """Refuse a table that lacks layers of the network.

    Raises:
        NasError: it does; the message ends with the command that adds them.
    """
    hardware = options.hardware.name if options.hardware else hardware_of(table)
    more = measuring_options(hardware, table, options.table)
    Breakdown.of(arch, table, layers_command(hardware, table.missing(arch), more))


def _own_words(chosen: LatencySettings, hardware: HardwareSettings) -> str:
    """Return the options that the table has and the hardware file has not."""
    pairs = ((key, getattr(chosen, key), getattr(hardware, key)) for key in CHOICES)
    return " ".join(f"{key}={word}" for key, word, usual in pairs if word not in (None, usual))
