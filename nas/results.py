"""The run folder: every file of a search, in formats that other tools read."""

import csv
import hashlib
import io
import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from glob import escape
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from nas.arch import Arch
from nas.candidate import Candidate
from nas.errors import NasError
from nas.paths import PACKAGE
from nas.text import mapping, read_json, write_text

TRIAL_COLUMNS = (
    "study",
    "trial",
    "key",
    "state",
    "reward",
    "ms",
    "top1",
    "top1_std",
    "is_new",
    "seconds",
    "choices",
    "reason",
)
COMPARISON_COLUMNS = (
    "name",
    "group",
    "study",
    "top1",
    "top1_std",
    "published_top1",
    "ms",
    "macs",
    "params",
    "peak_memory_bytes",
    "key",
    "file",
)
VERSIONS = ("python", "platform", "git_commit", "packages")
"""What of the environment may make a trial come out otherwise."""
PACKAGES = ("torch", "optuna", "numpy", "scipy", "pandas", "hydra-core", "ray")


def make_run_folder(path: Path, inner: str = ".") -> None:
    """Make a run folder, and the folders of a path `inner` in it, where they are not there yet.

    Raises:
        NasError: the place is a file, or not writable.
    """
    try:
        (path / inner).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(
            f"{path} cannot be a run folder: {error.strerror}. Choose another hydra.run.dir=."
        ) from error


def first_difference(before: Any, now: Any) -> tuple[str, str]:
    """Return what differs: of two mappings the first entry that does, down to the innermost."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return str(before), str(now)
    for name in sorted({*before, *now}, key=str):
        if name not in now:
            return f"{name} {before[name]}", f"without {name}"
        if name not in before:
            return f"without {name}", f"{name} {now[name]}"
        if before[name] != now[name]:
            was, is_now = first_difference(before[name], now[name])
            return f"{name} {was}", f"{name} {is_now}"
    raise ValueError("the two must differ")


class RunFolder:
    """Names and writes the files of one run; a folder that exists is continued."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "study.journal"
        self.trials = path / "trials.csv"
        self.comparison = path / "comparison.csv"
        self.report = path / "report.html"
        self.environment = path / "environment.json"
        self.winners = path / "winners"
        make_run_folder(path, "winners/pareto")

    def winner_file(self, study: str) -> Path:
        """Return the path of a study's winner."""
        return self.winners / f"{study}.yaml"

    def check_same_search(self, identity: Mapping[str, Any]) -> None:
        """Refuse to go on with another search's folder; a new one only notes its own identity.

        Raises:
            NasError: the folder's search had another space, table, proxy, objective or seed.
        """
        if self.environment.exists():
            content = read_json(self.environment)
            before = mapping(content.get("search"), f"search of {self.environment}")
            for name, value in identity.items():
                if before.get(name) != value:
                    was, now = first_difference(before.get(name), value)
                    raise NasError(
                        f"{self.path} holds a search with {name} {was}, not {now}. "
                        "Give the same options to continue it, or another hydra.run.dir=."
                    )
        elif self.journal.exists() and self.journal.stat().st_size:
            raise NasError(
                f"{self.path} has a journal but no environment.json, so its search cannot be "
                "continued. Choose another hydra.run.dir=."
            )

    def run_id(self) -> str:
        """Return what names this folder among the runs that share a study, kept when it goes on."""
        before = read_json(self.environment).get("run") if self.environment.exists() else None
        return before if isinstance(before, str) and before else secrets.token_hex(6)

    def write_environment(self, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write what it takes to repeat the run."""
        content = {**environment(), **facts, "search": dict(identity)}
        earlier = self._earlier(content)
        content |= {"earlier": earlier} if earlier else {}
        write_text(self.environment, json.dumps(content, indent=2) + "\n")

    def _earlier(self, now: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the versions of earlier sessions, where they were others than now."""
        if not self.environment.exists():
            return []
        before = read_json(self.environment)
        kept = before.get("earlier")
        found = list(kept) if isinstance(kept, list) else []
        if any(before.get(name) != now[name] for name in VERSIONS):
            found.insert(0, {name: before.get(name) for name in (*VERSIONS, "date")})
        return found

    def open_trials(self, rows: Iterable[Mapping[str, Any]]) -> "TrialsFile":
        """Write the rows of the trials so far and return the file, open for more."""
        return TrialsFile(self.trials, rows)

    def save_front(self, study: str, front: Sequence[Arch]) -> None:
        """Write the networks of a study's Pareto front by rising ms, and drop an older front."""
        folder = self.winners / "pareto"
        for old in folder.glob(f"{escape(study)}_*.yaml"):
            old.unlink()
        for number, arch in enumerate(front, start=1):
            arch.save(folder / f"{study}_{number:03d}.yaml")

    def write_comparison(self, candidates: Sequence[Candidate]) -> None:
        """Write the winners beside the baselines."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COMPARISON_COLUMNS)
        for one in candidates:
            row = {name: getattr(one, name) for name in COMPARISON_COLUMNS[:-2]}
            row |= {name: f"{row[name]:.6g}" for name in ("top1", "top1_std", "ms")}
            file = f"winners/{one.study}.yaml" if one.group == "winner" else ""
            writer.writerow([*row.values(), one.arch.key(), file])
        write_text(self.comparison, text.getvalue())


class TrialsFile:
    """trials.csv: a line a trial, written as it ends."""

    def __init__(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, TRIAL_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, TRIAL_COLUMNS, lineterminator="\n")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one trial."""
        try:
            self._writer.writerow(row)
            self._file.flush()
        except OSError as error:
            raise NasError(
                f"{self._file.name} cannot be written: {error.strerror}. Make room and run the "
                "same command again to go on."
            ) from error

    def close(self) -> None:
        """Close the file; a line that could not be written comes back from the journal."""
        with suppress(OSError):
            self._file.close()


def file_hash(path: Path) -> str:
    """Return 16 hexadecimal digits of a file's content.

    Raises:
        NasError: it cannot be read.
    """
    try:
        if not path.is_file() and path.exists():  # a device has no end
            raise NasError(f"{path} must be a file, but is a folder or a device. Check the path.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise NasError(f"{path} cannot be read: {error.strerror}. Check the path.") from error


def environment() -> dict[str, Any]:
    """Return the versions of what runs, and the commit where there is one."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "command": sys.argv,
        "git_commit": _git_commit(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    # An installed package may lie inside somebody else's checkout, whose commit says nothing.
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        shown = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return shown.stdout.strip() or None
