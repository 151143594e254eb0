"""From a network to a file that was run, compared and timed, and what lies beside it."""

from pathlib import Path

import torch

from nas.data.images import ImageData
from nas.errors import NasError
from nas.export.agreement import Agreement, compare
from nas.export.result import Exported
from nas.export.script import run_script, script_name, stem_of
from nas.export.settings import ExportSettings
from nas.export.subject import Subject
from nas.export.timing import time_file
from nas.latency.measure import Setting
from nas.latency.runner.sessions import open_session
from nas.latency.runtimes.contract import Runtime
from nas.latency.runtimes.folding import folded
from nas.latency.table import LatencyTable
from nas.steps import OnStep
from nas.text import write_bytes, write_text

AT_ONCE = 32
"""Images that are compared in one batch; at 224 px their floats then take 20 MB."""


def export(
    subject: Subject,
    setting: Setting,
    options: ExportSettings,
    data: ImageData | None,
    table: LatencyTable | None,
    folder: Path,
    on_step: OnStep,
) -> Exported:
    """Write the file, its script and export.json into a folder that exists.

    It is compared with torch here, and timed by the setting's device.

    Nothing is written before the file was run: one that computes something else is not kept.

    Raises:
        NasError: the runtime lacks a package or cannot express the network, the file in fp32
            differs from torch, or the folder cannot be written.
    """
    runtime = setting.runtime
    content = _content(subject, runtime, options, data, on_step)
    stem = stem_of(subject.arch.name, runtime.dtype)
    path, script = folder / f"{stem}{runtime.suffix}", folder / script_name(stem)
    found = _compared(content, subject, runtime, options, data, on_step)
    if runtime.dtype == "fp32":
        found.check(path.name)
    latency = time_file(
        content, subject.arch, setting, table, n_rounds=options.rounds, on_step=on_step
    )
    exported = Exported(
        path=path,
        script=script,
        n_bytes=len(content),
        n_weights=sum(one.numel() for one in folded(subject.network).parameters()),
        arch=subject.arch,
        runtime=runtime,
        checkpoint=options.checkpoint,
        images=_named(found.n_images, data),
        agreement=found,
        latency=latency,
    )
    write_bytes(path, content)
    write_text(script, run_script(options.format, stem, runtime.suffix, len(subject.mean)))
    exported.save(folder / "export.json")
    return exported


def _content(
    subject: Subject,
    runtime: Runtime,
    options: ExportSettings,
    data: ImageData | None,
    on_step: OnStep,
) -> bytes:
    on_step("exporting", 0, 1)
    calibration = None
    if data is not None and runtime.dtype == "int8":
        # The images of a data set come in a random order.
        calibration = subject.inputs(data.train.pixels[: options.calibration])
    content = runtime.export(
        subject.network,
        subject.noise()[:1],
        calibration=calibration,
        facts=subject.facts(runtime.dtype),
    )
    on_step("exporting", 1, 1)
    return content


def _compared(
    content: bytes,
    subject: Subject,
    runtime: Runtime,
    options: ExportSettings,
    data: ImageData | None,
    on_step: OnStep,
) -> Agreement:
    try:
        session = open_session(runtime.name, content, options=runtime.options)
    except Exception as error:  # each runtime has its own types
        reason = " ".join(str(error).split())[:300]
        raise NasError(
            f"{runtime.name} cannot run the file that was made of {subject.arch.name}: {reason}. "
            "Choose another format=, and report this network."
        ) from error
    if data is None:
        noise = subject.noise()
        return compare(session, subject.network, [noise], len(noise), None, on_step)
    chosen = data.validation[: options.check]
    batches = map(subject.inputs, torch.split(chosen.pixels, AT_ONCE))
    return compare(session, subject.network, batches, len(chosen), chosen.labels, on_step)


def _named(n_images: int, data: ImageData | None) -> str:
    return f"{n_images} images of {'noise' if data is None else f'{data.name}, held out'}"
