"""The table that a user names: a file, a table's name, or the hardware that has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import NasError, unknown
from nas.latency.table import LatencyTable
from nas.paths import find, names
from nas.text import read_yaml, short_text

# What a command line may choose in place of the hardware's own.
_CHOSEN = ("runtime", "dtype", "mode")
_TABLES, _HARDWARE = "latency_tables", "conf/hardware"


def chosen_table(hardware: Mapping[str, Any] | None, table: str | None) -> LatencyTable | None:
    """Return the table that a command line names, or that of its hardware; None: it names neither.

    Raises:
        NasError: it is unknown, broken or not measured yet.
    """
    if table is not None:
        return named_table(table, "table")
    if hardware is None:
        return None
    name = short_text(hardware.get("name"), "hardware.name")
    return hardware_table(name, short_text(hardware.get("table"), "hardware.table"))


def named_table(name: str, option: str) -> LatencyTable:
    """Load the table of a path, of a table's name or of a hardware's name.

    Raises:
        NasError: `option` names none of these, or the hardware has no table yet.
    """
    if Path(name).suffix == ".csv" or len(Path(name).parts) > 1:
        return LatencyTable.load(name)
    tables, hardware = table_names(), names(_HARDWARE, ".yaml")
    if name in tables:
        return LatencyTable.load(name)
    if name in hardware:
        return hardware_table(name, _table_of(name))
    raise unknown(f"table or hardware for {option}:", name, {*tables, *hardware})


def hardware_table(hardware: str, table: str) -> LatencyTable:
    """Load the table that a hardware file names.

    Raises:
        NasError: it is not measured yet; the message ends with the command that does it.
    """
    if Path(table).suffix != ".csv" and table not in table_names():
        raise NasError(
            f"hardware {hardware} has no latency_tables/{table}.csv yet. Write it: "
            f"python -m nas.latency +hardware={hardware}"
        )
    return LatencyTable.load(table)


def hardware_of(table: LatencyTable) -> str | None:
    """Return the hardware that the rows of a table are from, where it is known here."""
    device = table.header.get("device", "")
    return device if device in names(_HARDWARE, ".yaml") else None


def measuring_options(
    hardware: str | None, table: LatencyTable, named: str | None = None
) -> dict[str, str]:
    """Return the options with which `nas.latency` goes on with a table of that hardware.

    `named` is what a command line called the table, None where it only named the hardware.
    """
    own = {} if hardware is None else read_yaml(find(_HARDWARE, hardware, ".yaml"))
    given = {key: table.header.get(key, "none") for key in _CHOSEN}
    more = {key: value for key, value in given.items() if value not in ("none", own.get(key))}
    # A file that the hardware's command would not write by itself has to be named.
    if named is not None and named != hardware:
        more["table"] = named if named.endswith(".csv") else f"latency_tables/{table.name}.csv"
    return more


def table_names() -> list[str]:
    """Return the names of all tables."""
    return names(_TABLES, ".csv")


def _table_of(hardware: str) -> str:
    content = read_yaml(find(_HARDWARE, hardware, ".yaml"))
    return short_text(content.get("table"), f"table of hardware {hardware}")
