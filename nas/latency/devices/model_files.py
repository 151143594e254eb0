"""The model files of a job by the SHA-256 of their content: the only names that devices see."""

import hashlib
import io
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nas.errors import NasError
from nas.latency.runner.bench import Job, Model
from nas.latency.runner.sheet import Sheet
from nas.steps import OnStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The digests of a job's models by name, and the files by digest."""

    digests: Mapping[str, str]
    anchor: str
    files: Mapping[str, Model]

    def sheet(self, job: Job, done: Collection[tuple[str, int]], start_s: float) -> Sheet:
        """Return the job as it is sent."""
        return Sheet(
            runtime=job.runtime,
            options=dict(job.options),
            threads=job.threads,
            cores=tuple(job.cores),
            plan=job.plan,
            seed=job.seed,
            models=self.digests,
            anchor=self.anchor,
            done=frozenset(done),
            start_s=start_s,
        )

    def named(self, text: str) -> str:
        """Return a device's message with the names of the models in place of their digests."""
        for name, digest in self.digests.items():
            text = text.replace(digest, name)
        return text


def model_files(job: Job) -> ModelFiles:
    """Return the files of a job.

    Raises:
        NasError: one cannot be read.
    """
    digests = {name: _digest(model) for name, model in job.models.items()}
    anchor = _digest(job.anchor)
    files = {digests[name]: model for name, model in job.models.items()} | {anchor: job.anchor}
    return ModelFiles(digests=digests, anchor=anchor, files=files)


def write_tar(files: Mapping[str, Model], stream: IO[bytes], on_step: OnStep) -> None:
    """Write the files as a tar stream."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for number, (digest, model) in enumerate(files.items(), start=1):
            content = model_bytes(model)
            member = tarfile.TarInfo(digest)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            on_step("copying", number, len(files))


def model_bytes(model: Model) -> bytes:
    """Return the content of a model.

    Raises:
        NasError: its file cannot be read.
    """
    if isinstance(model, Path):
        try:
            return model.read_bytes()
        except OSError as error:
            raise NasError(
                f"model file {model} cannot be read: {error.strerror}. Export it again."
            ) from error
    return model


def _digest(model: Model) -> str:
    return hashlib.sha256(model_bytes(model)).hexdigest()
