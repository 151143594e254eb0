"""Everything that reads text or bytes from outside: what is to be read, and by what.

A reader is called with the path of a file, alone in a folder of its own, as whoever uses it calls
it: what it returns is looked at, so that a value which only breaks later is found too. All of them
may raise `NasError` and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from hostile import hostile

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A reader of files called `file`; `form` says how hostile ones are made of the examples.

    `weight` is its share of the cases: less than 1 for what takes long.
    """

    name: str
    file: str
    form: str
    examples: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    weight: float = 1.0

    def case(self, random: Random) -> bytes:
        """Return the content of a hostile file."""
        return hostile(random, kept(self.examples), self.form)

    def try_on(self, content: bytes, folder: Path) -> None:
        """Read a content; `folder` is empty or was left by this."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.read(path)


@cache
def kept(examples: Callable[[], Sequence[bytes]]) -> Sequence[bytes]:
    """Return the examples, made once."""
    return examples()


def every_reader() -> dict[str, Reader]:
    """Return all readers by their names."""
    from data_readers import DATA_READERS
    from device_readers import DEVICE_READERS
    from network_readers import NETWORK_READERS
    from run_readers import RUN_READERS
    from table_readers import TABLE_READERS
    from weight_readers import WEIGHT_READERS

    groups = (
        NETWORK_READERS,
        TABLE_READERS,
        RUN_READERS,
        WEIGHT_READERS,
        DEVICE_READERS,
        DATA_READERS,
    )
    return {reader.name: reader for group in groups for reader in group}


def files(pattern: str, n_lines: int | None = None) -> list[bytes]:
    """Return shipped files, of long ones the first lines."""
    contents = [path.read_bytes() for path in sorted(ROOT.glob(pattern))]
    assert contents, pattern
    return [b"".join(content.splitlines(keepends=True)[:n_lines]) for content in contents]
