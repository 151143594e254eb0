"""A job as it crosses to another machine: plain JSON, models by the SHA-256 of their content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from nas.latency.runner.bench import Job
from nas.latency.runner.timing import ANCHOR, Plan, Reading

Visit = tuple[str, str, int]
"""The name, the digest of the model, and the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What to time and how: the digests of the models by name, and the visits that are `done`."""

    runtime: str
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int
    cores: tuple[int, ...]
    plan: Plan
    seed: int
    models: Mapping[str, str]
    anchor: str
    done: frozenset[tuple[str, int]] = frozenset()
    start_s: float = 0.0

    @property
    def key(self) -> str:
        """Return a name for all that makes times comparable, and so fit to be mixed.

        Which models are left, which rounds and in what order is no part of it: an interrupted host
        comes back with fewer models, and finds what was measured meanwhile.
        """
        content = asdict(self)
        for name in ("models", "done", "start_s", "seed"):
            del content[name]
        for name in ("n_rounds", "first_round", "anchor_every"):
            del content["plan"][name]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def wanted(self) -> set[Visit]:
        """Return the visits to be made, the anchor's left out."""
        return {
            (name, digest, number)
            for name, digest in self.models.items()
            for number in self.plan.rounds
            if (name, number) not in self.done
        }

    def holds(self, reading: Reading, digest: str) -> bool:
        """Tell whether a reading is of a model and a round of this job, `done` or not."""
        model = self.anchor if reading.name == ANCHOR else self.models.get(reading.name)
        return digest == model and reading.round in self.plan.rounds

    def job(self, models: Path) -> Job:
        """Return the job, its models in the folder `models`."""
        return Job(
            runtime=self.runtime,
            options=self.options,
            threads=self.threads,
            cores=self.cores,
            plan=self.plan,
            seed=self.seed,
            models={name: models / digest for name, digest in self.models.items()},
            anchor=models / self.anchor,
        )

    def text(self) -> str:
        """Return it as JSON."""
        content = asdict(self) | {"done": sorted(self.done)}
        return json.dumps(content, sort_keys=True)


def parse_sheet(text: str | bytes) -> Sheet:
    """Return the sheet that `Sheet.text` wrote."""
    content: dict[str, Any] = json.loads(text)
    return Sheet(
        **content
        | {
            "cores": tuple(content["cores"]),
            "plan": Plan(**content["plan"]),
            "done": frozenset((name, number) for name, number in content["done"]),
        }
    )


def reading_line(reading: Reading, digest: str) -> str:
    """Return the line that keeps a reading of the model `digest`."""
    return json.dumps(reading.content() | {"model": digest}) + "\n"


def parse_reading(line: str | bytes) -> tuple[Reading, str]:
    """Return the reading of a line, and the digest of its model.

    Raises:
        ValueError: it is no such line.
    """
    try:
        content = json.loads(line)
        reading = Reading(
            name=str(content["name"]),
            round=int(content["round"]),
            at_s=float(content["at_s"]),
            times_ms=tuple(map(float, content["times_ms"])),
        )
        digest = str(content["model"])
    except (KeyError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"no reading: {error}") from error
    numbers = (reading.at_s, *reading.times_ms)
    if not reading.times_ms or not all(isfinite(number) and number >= 0 for number in numbers):
        raise ValueError("times must be numbers of at least 0")
    return reading, digest
