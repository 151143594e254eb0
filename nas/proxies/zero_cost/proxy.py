"""The proxy `zero_cost`: training-free scores, read as percent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch, Layer
from nas.data.images import ImageData
from nas.errors import NasError, shown, unknown
from nas.latency.table import LatencyTable
from nas.proxies.zero_cost.percent import COMBINATIONS, Array, PercentLine
from nas.proxies.zero_cost.probe import Probe
from nas.proxies.zero_cost.scorer import SCORES, ScoreError, Scorer, log_score
from nas.space import SearchSpace
from nas.steps import OnStep
from nas.text import integer

if TYPE_CHECKING:
    from nas.search.records import Target

_WHAT = "scoring random networks"
_Shape = tuple[str, int, int]


class ZeroCost:
    """Ranks networks by training-free scores, in percent that are a scale and no prediction.

    `scores` are added up as logarithms (`combination="logs"`: networks rank by the product of the
    scores), or each in units of its own spread (`"standardised"`: each says as much as any other).
    Scores have no unit, but a search weighs accuracy against latency: so `prepare` maps them to
    percent by the line that gives random networks of the searched spaces a mean of 70 and a
    standard deviation of 2. Images come from `data`, or are noise. All networks are scored with the
    activation `act`, as gradients shrink several times under h-swish, which trains better; None
    keeps the networks' own.

    Raises:
        NasError: an unknown score or combination, or an option out of its bounds.
    """

    def __init__(
        self,
        *,
        scores: Sequence[str] = ("params", "snip"),
        combination: str = "logs",
        data: ImageData | None = None,
        n_prepare: int = 64,
        size: int = 32,
        batch_size: int = 8,
        n_batches: int = 2,
        n_code_images: int = 32,
        seed: int = 0,
        act: str | None = "relu",
    ) -> None:
        if isinstance(scores, str) or not scores:
            raise NasError(f"scores must be a list like [params,snip], but is {shown(scores)}.")
        for name in scores:
            if name not in SCORES:
                raise unknown("score", name, SCORES)
        if combination not in COMBINATIONS:
            raise unknown("combination of scores", combination, COMBINATIONS)
        self.names = tuple(scores)
        self.combination = combination
        self.n_prepare = integer(n_prepare, "n_prepare", 8, 10_000)
        self.probe = Probe(
            size=size,
            batch_size=batch_size,
            n_batches=n_batches,
            n_code_images=n_code_images,
            seed=seed,
            act=act,
        )
        self._scorer = Scorer(probe=self.probe, data=data)
        self._line: PercentLine | None = None
        self._shapes = set[_Shape]()

    def prepare(self, targets: Sequence["Target"], table: LatencyTable, on_step: OnStep) -> None:
        """Score `n_prepare` random networks of each target's space, and fit the line to percent.

        The latency table is not asked.

        Raises:
            NasError: the scores fail for most networks, or do not tell them apart.
        """
        spaces = list[SearchSpace]()
        for target in targets:
            spaces += [] if target.space in spaces else [target.space]
        total, logs = len(spaces) * self.n_prepare, list[Array]()
        for before, space in zip(range(0, total, self.n_prepare), spaces, strict=True):
            rng, rows = np.random.default_rng(self.probe.seed), list[list[float]]()
            for done in range(1, self.n_prepare + 1):
                rows.append(self._logs(space.random(rng)))
                on_step(_WHAT, before + done, total)
            logs.append(self._usable(np.array(rows), space))
        self._line = PercentLine.of(logs, self.combination)
        self._shapes = {_shape_of(layer) for space in spaces for layer in space.layers()}

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        """Return percent on the scale of `prepare`, and zeros, as a score knows no doubt.

        Both are NaN for a network of which a score is no number to go by, and for one with widths
        or sizes that no prepared space has: scores only compare networks of one skeleton.

        Raises:
            NasError: `prepare` was not called before, or data that do not fit.
        """
        if self._line is None:
            raise NasError(
                "proxy zero_cost has no scale yet: scores have no unit. Call prepare(targets, "
                "table, on_step) before predict."
            )
        logs = np.array([self._comparable_logs(arch) for arch in archs])
        means = self._line.top1(logs.reshape(len(archs), len(self.names)))
        return means, np.where(np.isfinite(means), 0.0, np.nan)

    def _usable(self, logs: Array, space: SearchSpace) -> Array:
        found = logs[np.isfinite(logs).all(axis=1)]
        if len(found) < len(logs) / 2:
            raise NasError(
                f"{', '.join(self.names)} must be numbers for most random networks of "
                f"{space.name}, but are for {len(found)} of {len(logs)}. Choose others: "
                "proxy.scores=[params,snip]"
            )
        return found

    def _comparable_logs(self, arch: Arch) -> list[float]:
        if self._shapes.issuperset(map(_shape_of, arch.layers)):
            return self._logs(arch)
        return [np.nan] * len(self.names)

    def _logs(self, arch: Arch) -> list[float]:
        try:
            found = self._scorer.scores(self.names, arch)
        except ScoreError:
            return [np.nan] * len(self.names)
        return [log_score(name, found[name]) for name in self.names]


def _shape_of(layer: Layer) -> _Shape:
    """Return op, width and size; of a head the hidden width, as classes depend on the data."""
    width = layer.mid_channels if layer.op == "head" else layer.out_channels
    return layer.op, width, layer.out_size
