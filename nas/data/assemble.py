"""From a source to tensors: chosen, split, decoded once and kept."""

from dataclasses import asdict

import numpy as np
import torch

from nas.data import cache
from nas.data.decode import ColourFound, Frame, decode, frame_of
from nas.data.images import ImageData, Images
from nas.data.memory import check_memory
from nas.data.options import Options, Progress
from nas.data.source import Part, Source
from nas.data.split import Rows, choose, hold_out
from nas.errors import NasError, shown
from nas.extras import require

Chosen = dict[str, tuple[Part, Rows]]


def assemble(source: Source, options: Options, on_progress: Progress | None = None) -> ImageData:
    """Return the images of a source: read from the cache, or decoded and kept there.

    Raises:
        NasError: fewer than two classes, a class without enough images, a label out of range, a
            broken image, images of several sizes, or more than the memory holds.
    """
    key = None
    if source.fingerprint is not None:
        decoder = require("PIL", "data").__version__
        key = [source.fingerprint, source.classes, asdict(options), decoder]
        found = cache.find(key)
        if found is not None:
            return found
    chosen = _chosen(source, options)
    part, rows = chosen["train"]
    frame = frame_of(part, int(rows.min()), options.size)
    try:
        parts = _decoded(source.name, chosen, frame, on_progress)
    except ColourFound:  # The first image was grey, but not all are.
        frame = Frame(n_channels=3, size=frame.size, is_fitted=frame.is_fitted)
        parts = _decoded(source.name, chosen, frame, on_progress)
    digest = cache.content_digest(source.classes, parts)
    data = ImageData(name=source.name, digest=digest, classes=source.classes, **parts)
    if key is not None:
        cache.keep(key, data)
    return data


def _chosen(source: Source, options: Options) -> Chosen:
    """Return the rows of each part: in a random order, but for the test part's, which ascend."""
    _check(source)
    parts = {"train": source.train, "validation": source.validation, "test": source.test}
    generator = np.random.default_rng(options.seed)
    chosen: Chosen = {
        name: (part, _limited(part, options.limit, source, generator))
        for name, part in parts.items()
        if part is not None
    }
    part, rows = chosen["train"]
    if "validation" not in chosen:
        kept, held = hold_out(part.labels[rows], options.validation, generator)
        chosen["train"], chosen["validation"] = (part, rows[kept]), (part, rows[held])
    for name in ("train", "validation"):
        part, rows = chosen[name]
        chosen[name] = (part, generator.permutation(rows))
    return {name: chosen[name] for name in parts if name in chosen}


def _limited(part: Part, limit: int | None, source: Source, generator: np.random.Generator) -> Rows:
    if limit is None or limit >= len(part.labels):
        return np.arange(len(part.labels))
    least = 2 * len(source.classes)
    if limit < least:
        raise NasError(
            f"data.limit must be at least {least}, two images for each class of {source.name}, but "
            f"is {limit}."
        )
    return choose(part.labels, limit, generator, least=2)


def _check(source: Source) -> None:
    classes = source.classes
    if len(classes) < 2:
        raise NasError(
            f"{source.name} must have at least 2 classes, but has "
            f"{', '.join(classes) or 'none'}. Check data.path and the label column."
        )
    for part in (source.train, source.validation, source.test):
        if part is None:
            continue
        wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(classes)))
        if wrong.size:
            raise NasError(
                f"{part.place(int(wrong[0]))} has label {part.labels[wrong[0]]}, but labels of "
                f"{source.name} must be from 0 to {len(classes) - 1}. Correct it or take it away."
            )
    needed = 2 if source.validation is None else 1
    for number, count in enumerate(np.bincount(source.train.labels, minlength=len(classes))):
        if count < needed:
            raise NasError(
                f"class {shown(classes[number])} of {source.name} must have at least {needed} "
                f"images to train on and to hold out, but has {count}. Add images or take the "
                "class away."
            )


def _decoded(
    name: str, chosen: Chosen, frame: Frame, on_progress: Progress | None
) -> dict[str, Images]:
    n_images = sum(len(rows) for _, rows in chosen.values())
    check_memory(n_images * frame.n_channels * frame.size**2, f"{n_images:,} images of {name}")
    n_done = 0

    def count(n_new: int) -> None:
        nonlocal n_done
        n_done += n_new
        if on_progress is not None:
            on_progress(n_done, n_images)

    return {
        part_name: Images(
            pixels=decode(part, rows, frame, count), labels=torch.from_numpy(part.labels[rows])
        )
        for part_name, (part, rows) in chosen.items()
    }
