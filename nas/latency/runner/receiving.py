"""Take in model files: a tar stream whose members are named by the SHA-256 of their content."""

import hashlib
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO

from nas.latency.runner.replies import CorruptFileError

CHUNK = 2**20


def missing_models(models: Path, digests: Iterable[str]) -> list[str]:
    """Return those of the digests whose files are not there, or not whole.

    Whole files are read again: after a power cut a file may have its length, but not its content.
    """
    return [digest for digest in digests if _digest(models / digest) != digest]


def receive_models(models: Path, stream: BinaryIO) -> int:
    """Store the files of a tar stream and return how many they were.

    Raises:
        CorruptFileError: the content of one is not what its name says.
    """
    n_files = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None or not _is_digest(member.name):
                    raise CorruptFileError(f"unexpected member {member.name[:80]!r}")
                _store(models / member.name, content)
                n_files += 1
    except tarfile.TarError as error:
        raise CorruptFileError(f"the stream of files broke: {error}") from error
    return n_files


def _store(path: Path, content: IO[bytes]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    digest = hashlib.sha256()
    try:
        with draft.open("wb") as file:
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != path.name:
            raise CorruptFileError(f"file {path.name} has another content: {digest.hexdigest()}")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
