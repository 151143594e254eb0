"""A network's latency, layer by layer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from shlex import quote

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.latency.table import LatencyTable, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The rows of a network's layers, in its order."""

    name: str
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, arch: Arch, table: LatencyTable, command: str) -> "Breakdown":
        """Look the layers up.

        Raises:
            NasError: the table lacks some; the message ends with `command`, which adds them.
        """
        missing = table.missing(arch)
        if missing:
            layers = "1 layer" if len(missing) == 1 else f"{len(missing)} layers"
            raise NasError(
                f"table {table.name} has no row for {layers} of {arch.name} (first: {missing[0]}). "
                f"Add them: {command}"
            )
        return cls(name=arch.name, rows=tuple(table.rows[layer] for layer in arch.layers))

    @property
    def ms(self) -> float:
        """Return the sum."""
        return sum(row.ms for row in self.rows)

    @property
    def isolated_ms(self) -> float | None:
        """Return the sum of the layers timed alone, where all of them were."""
        times = [row.isolated_ms for row in self.rows if row.isolated_ms is not None]
        return sum(times) if len(times) == len(self.rows) else None

    def percent(self, row: Row) -> float:
        """Return a row's share of the sum."""
        return 100 * row.ms / self.ms


def adding_command(
    hardware: str | None, arch: str, scaling: Mapping[str, object], options: Mapping[str, object]
) -> str:
    """Return the command that adds a network's layers to a table, as it is to be typed.

    `scaling` holds width and resolution, `options` what else differs from the hardware's own table;
    what is None is left out.
    """
    words = {"+hardware": hardware or "<name>", "arch": arch, **scaling, **options}
    return f"python -m nas.latency {_typed(words)}"


def layers_command(
    hardware: str | None, layers: Iterable[Layer], options: Mapping[str, object]
) -> str:
    """Return the command that adds single layers to a table; see `adding_command`."""
    texts = ",".join(f"'{layer}'" for layer in layers)
    words = {"+hardware": hardware or "<name>", **options}
    return f'python -m nas.latency {_typed(words)} "layer=[{texts}]"'


def _typed(words: Mapping[str, object]) -> str:
    return " ".join(quote(f"{key}={value}") for key, value in words.items() if value is not None)
