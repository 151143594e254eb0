"""Decoded images kept on disk, so that each data set is decoded once.

A file is named after what it was decoded from and holds the digest of its own content: one that is
truncated or was changed is never taken for whole. A disk that is full or not writable only costs
time.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.data.images import ImageData, Images
from nas.text import parse_json

FORMAT = 1
"""Raised whenever the same files come to be decoded or split differently."""
MAX_BYTES = 16 * 2**30
DRAFT_SECONDS = 24 * 3600
"""After so long a file that is not whole is what a killed process left."""


def content_digest(classes: tuple[str, ...], parts: dict[str, Images]) -> str:
    """Return 16 hexadecimal digits that equal images, labels, classes and splits share."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for name, part in parts.items():
        digest.update(json.dumps([name, *part.pixels.shape]).encode())
        digest.update(part.pixels.numpy().data)
        digest.update(part.labels.numpy().data)
    return digest.hexdigest()[:16]


def find(key: object, folder: Path | None = None) -> ImageData | None:
    """Return what was kept under a key (anything that JSON can write), if it is there and whole."""
    path = _place(key, folder)
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_json(file.metadata()["image_data"], "image_data")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        parts = {
            name: Images(pixels=tensors[f"{name}.pixels"], labels=tensors[f"{name}.labels"])
            for name in ("train", "validation", "test")
            if f"{name}.pixels" in tensors
        }
        data = ImageData(
            name=str(facts["name"]),
            digest=str(facts["digest"]),
            classes=tuple(map(str, facts["classes"])),
            **parts,
        )
        if data.digest != content_digest(data.classes, parts):
            return None
    except (OSError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError):
        return None
    with suppress(OSError):
        os.utime(path)  # `_trim` deletes what was used least recently.
    return data


def keep(key: object, data: ImageData, folder: Path | None = None) -> None:
    """Write a data set, whole or not at all."""
    path = _place(key, folder)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.draft")
    facts = {"name": data.name, "digest": data.digest, "classes": data.classes}
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        if part is not None:
            tensors |= {f"{name}.pixels": part.pixels, f"{name}.labels": part.labels}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft, metadata={"image_data": json.dumps(facts)})
        draft.replace(path)
        _trim(path.parent)
    except (OSError, SafetensorError):
        return
    finally:
        with suppress(OSError):
            draft.unlink()


def default_folder() -> Path:
    """Return `nas-cpu/data` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nas-cpu" / "data"


def _place(key: object, folder: Path | None) -> Path:
    name = hashlib.sha256(json.dumps([FORMAT, key], sort_keys=True).encode()).hexdigest()[:32]
    return (folder or default_folder()) / f"{name}.safetensors"


def _trim(folder: Path) -> None:
    """Delete what was used least recently until the rest keeps to the limit, and old drafts."""
    for draft in folder.glob(".*.draft"):
        if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
            draft.unlink(missing_ok=True)
    files = [(path.stat(), path) for path in folder.glob("*.safetensors")]
    size = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime):
        if size <= MAX_BYTES:
            return
        path.unlink(missing_ok=True)
        size -= status.st_size
