"""What became of an export: the figures of export.json and the lines that are printed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.results import environment
from nas.text import write_text

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.export.agreement import Agreement
    from nas.export.timing import Latency, Prediction
    from nas.latency.runtimes.contract import Runtime

FP32_BYTES = 4
UNKNOWN = "unknown"
"""What a table's header does not say."""
MIN_SAME_PERCENT = 97.0
"""Of an 8-bit file: fewer images with torch's top-1 are worth a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported file, and how it compares.

    `n_weights` are those left when batch-norms are folded. `images` says in words what it was
    compared on; `checkpoint` is None for random weights.
    """

    path: Path
    script: Path
    n_bytes: int
    n_weights: int
    arch: "Arch"
    runtime: "Runtime"
    checkpoint: str | None
    images: str
    agreement: "Agreement"
    latency: "Latency"

    @property
    def shrinkage(self) -> float:
        """Return how many times the weights in fp32 the file would go into."""
        return FP32_BYTES * self.n_weights / self.n_bytes

    def save(self, path: Path) -> None:
        """Write export.json.

        Raises:
            NasError: the disk is full, or the folder not writable.
        """
        prediction = self.latency.prediction
        content: dict[str, Any] = {
            "file": self.path.name,
            "script": self.script.name,
            "bytes": self.n_bytes,
            "fp32_weights_over_file": round(self.shrinkage, 3),
            "runtime": self.runtime.name,
            "dtype": self.runtime.dtype,
            "mode": self.runtime.mode,
            "versions": dict(self.runtime.versions),
            "arch": {"name": self.arch.name, "key": self.arch.key()},
            "checkpoint": self.checkpoint,
            "images": self.images,
            "agreement": asdict(self.agreement),
            "latency": asdict(self.latency),
            "prediction_error_percent": prediction and prediction.error_percent,
            "environment": environment(),
        }
        write_text(path, json.dumps(content, indent=2) + "\n")

    def lines(self) -> dict[str, str]:
        """Return what is printed, by titles."""
        found = {
            "file": str(self.path),
            "size": self._size(),
            "agreement": self._agreement(),
            "accuracy": self._accuracy(),
            "latency": self._latency(),
            "predicted": _predicted(self.latency.prediction),
            "run it": f"python {self.script} <image>",
        }
        return {title: text for title, text in found.items() if text}

    def _size(self) -> str:
        text = f"{self.n_bytes / 1e6:.2f} MB"
        if self.runtime.dtype == "fp32":
            return text
        return f"{text}, {self.shrinkage:.2f} times smaller than its weights in fp32"

    def _agreement(self) -> str:
        one = self.agreement
        text = f"the top-1 is torch's on {one.same_top1_percent:.1f} % of {self.images}"
        if self.runtime.dtype == "fp32":
            return f"{text}; logits differ by {one.largest_difference:.1e} of the largest at most"
        if self.checkpoint is not None and one.same_top1_percent < MIN_SAME_PERCENT:
            text += (
                f": below {MIN_SAME_PERCENT:g} %, so compare the accuracies before you ship it, "
                "and try calibration=1000 or dtype=fp32"
            )
        return text

    def _accuracy(self) -> str:
        one = self.agreement
        if one.file_top1_percent is None:
            return "" if self.checkpoint else "none: the weights are random"
        return f"{one.file_top1_percent:.2f} % (torch: {one.torch_top1_percent:.2f} %)"

    def _latency(self) -> str:
        one = self.latency
        threads = "one thread" if one.threads == 1 else f"{one.threads} threads"
        return (
            f"{one.ms:.3f} ms on {one.device} ({one.cpu}), one image, {threads} "
            f"(± {one.std_ms:.3f})"
        )


def _predicted(prediction: "Prediction | None") -> str:
    if prediction is None:
        return ""
    text = f"{prediction.ms:.3f} ms by table {prediction.table}"
    if prediction.ms_then is not None:
        return (
            f"{text}: {prediction.error_percent:+.1f} % of the {prediction.ms_then:.3f} ms that it "
            "takes at the pace of the table's day"
        )
    others = [
        f"{key} {then}, not {now}"
        for key, (then, now) in prediction.differences.items()
        if then != UNKNOWN
    ]
    return f"{text}, which is of other conditions: {'; '.join(others)}"
