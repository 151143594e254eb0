"""What became of every network that was ever trained: no training is paid for twice.

`results.jsonl` holds one training a line; `running/` a lock for each that runs now.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.locks import file_locked, locked
from nas.text import is_number, mapping, parse_json

FILE = "results.jsonl"
MAX_BYTES = 2**29
"""Half a million trainings."""
STATES = ("stopped", "failed", "whole")
"""How a training ended; each says more than those before it."""
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingName:
    """What a result belongs to: a network, what it was trained on and how, and the seed."""

    key: str
    recipe: str
    data: str
    seed: int

    def __str__(self) -> str:
        return f"{self.key}-{self.recipe}-{self.data[:16]}-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A training that ended: `whole`, `stopped` after `len(history)` epochs, or `failed`.

    `layers` and `scaling` rebuild the network as it was asked for, before the recipe's width and
    resolution. `top1` and `history` are in percent; `reason` says why it failed.
    """

    name: TrainingName
    arch: str
    layers: tuple[str, ...]
    scaling: str
    state: str
    date: str
    top1: float = 0.0
    history: tuple[float, ...] = ()
    seconds: float = 0.0
    reason: str = ""

    @classmethod
    def now(cls, name: TrainingName, arch: Arch, **values: Any) -> Self:
        """Return the result of a training that ends now."""
        return cls(
            name=name,
            arch=arch.name,
            layers=tuple(map(str, arch.layers)),
            scaling=arch.scaling,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            **values,
        )

    def network(self) -> Arch:
        """Return the network that was asked for."""
        layers = tuple(map(Layer.parse, self.layers))
        return Arch(name=self.arch, layers=layers, scaling=self.scaling)

    def line(self) -> bytes:
        """Return the record as a line of JSON."""
        return json.dumps({"version": _VERSION, **asdict(self)}).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line.

        Raises:
            ValueError: it is torn, damaged or of another version.
        """
        try:
            content = mapping(parse_json(line.decode(), "a line"), "a line")
            if content.pop("version") != _VERSION or content["state"] not in STATES:
                raise ValueError("another version")
            content["name"] = TrainingName(**content["name"])
            content["layers"] = tuple(content["layers"])
            content["history"] = tuple(content["history"])
            result = cls(**content)
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error
        name = result.name
        texts = (name.key, name.recipe, name.data, result.arch, result.scaling, result.reason)
        if not all(isinstance(one, str) for one in (*texts, *result.layers)):
            raise ValueError("no text")
        if not all(map(is_number, (name.seed, result.top1, result.seconds, *result.history))):
            raise ValueError("no number")
        return result


class TrainingResults:
    """The results in a folder, shared by all processes that train.

    A line is appended in one write under a lock. A process that is killed while it writes leaves a
    torn line, which costs its own training and no other. Reading goes on where it ended.

    Raises:
        NasError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE
        self._running = self.folder / "running"
        self._by_name: dict[TrainingName, TrainingResult] = {}
        self._n_read = 0
        try:
            self._running.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:
            raise NasError(
                f"{self.folder} cannot hold results: {error.strerror}. Choose another folder."
            ) from error

    def get(self, name: TrainingName) -> TrainingResult | None:
        """Return the result that says most, or None: whole, else failed, else stopped latest."""
        self._read()
        return self._by_name.get(name)

    def every(self) -> list[TrainingResult]:
        """Return one result for each name, in the order in which they were first stored."""
        self._read()
        return list(self._by_name.values())

    def add(self, result: TrainingResult) -> None:
        """Append a result and hand it to the disk.

        Raises:
            NasError: the file cannot be written; the results in it are kept.
        """
        try:
            with self.path.open("ab+", buffering=0) as file, locked(file.fileno()):
                line = result.line()
                # What a killed process tore keeps to a line of its own.
                end = file.seek(0, os.SEEK_END)
                if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                    line = b"\n" + line
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
        except OSError as error:
            raise NasError(
                f"{self.path} cannot be written: {error.strerror}. The results in it are kept. "
                "Make room and run the same command again to go on."
            ) from error

    @contextmanager
    def training(self, name: TrainingName) -> Iterator[None]:
        """Keep every other process from this training; wait while one of them is at it.

        The lock ends with the process, however that ends. Look again for a result once inside.
        """
        path = self._running / str(name)
        with file_locked(path):
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._n_read:  # somebody began the file anew
                    self._n_read = 0
                    self._by_name.clear()
                file.seek(self._n_read)
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise NasError(f"{self.path} cannot be read: {error.strerror}.") from error
        if len(content) > MAX_BYTES:
            raise NasError(
                f"{self.path} must have at most {MAX_BYTES:,} bytes, but has more. Move it away "
                "to begin anew."
            )
        whole = content.rfind(b"\n") + 1
        self._n_read += whole
        for line in content[:whole].splitlines():
            with suppress(ValueError):
                self._keep(TrainingResult.parse(line))

    def _keep(self, result: TrainingResult) -> None:
        known = self._by_name.get(result.name)
        if known is None or _weight(result) > _weight(known):
            self._by_name[result.name] = result


def _weight(result: TrainingResult) -> tuple[int, int]:
    return STATES.index(result.state), len(result.history)
