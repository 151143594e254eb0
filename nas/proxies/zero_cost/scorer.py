"""Training-free scores of networks, several at once and each paid once."""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite, log

import torch

from nas.arch import Arch
from nas.cost import count_macs, count_params
from nas.data.images import ImageData
from nas.errors import NasError, unknown
from nas.network.build import Network
from nas.proxies.zero_cost.codes import activation_codes, naswot, swap
from nas.proxies.zero_cost.gradients import Gradients
from nas.proxies.zero_cost.probe import Batch, Probe, draw, fresh_network, seeded
from nas.proxies.zero_cost.synflow import synflow
from nas.proxies.zero_cost.zen import zen_of

COUNTS: Mapping[str, Callable[[Arch], int]] = {"macs": count_macs, "params": count_params}
"""Scores without a network, of the arch as it is; the others see it at the probe's size."""
_GRADIENTS = ("grad_norm", "snip", "zico")
_CODES = ("naswot", "swap")
SCORES = (*COUNTS, *_GRADIENTS, "synflow", *_CODES, "zen")
LOGARITHMS = ("naswot", "zen", "zico")
"""Scores that are logarithms as they are defined."""


class ScoreError(NasError):
    """Report a network of which a score is no number to go by."""


def log_score(name: str, value: float) -> float:
    """Return a score on a logarithmic scale, on which scores may be added up."""
    return value if name in LOGARITHMS else log(value)


def score(
    name: str, arch: Arch, *, probe: Probe | None = None, data: ImageData | None = None
) -> float:
    """Return one training-free score of a network; more promises a more accurate one.

    Raises:
        ScoreError: the score is no finite number or, unless it is a logarithm, not above 0.
        NasError: an unknown score, or data that do not fit.
    """
    return Scorer(probe=probe, data=data).scores([name], arch)[name]


class Scorer:
    """Scores networks on one probe and keeps what was computed, by network and score.

    Images come from `data`, or are noise. Neither the caller's random numbers nor threads, default
    precision or gradient mode change.
    """

    def __init__(self, *, probe: Probe | None = None, data: ImageData | None = None) -> None:
        self.probe = probe or Probe()
        self.data = data
        self._known: dict[tuple[str, str], float] = {}
        self._batches: dict[tuple[int, int, int], Batch] = {}

    def scores(self, names: Iterable[str], arch: Arch) -> dict[str, float]:
        """Return scores of `SCORES` by name; those that need the same pass share it.

        Raises:
            ScoreError: a score is no finite number or, unless it is a logarithm, not above 0.
            NasError: an unknown name, or data that do not fit.
        """
        names, key = list(names), arch.key()
        for name in names:
            if name not in SCORES:
                raise unknown("score", name, SCORES)
        missing = {name for name in names if (key, name) not in self._known}
        for name, value in self._computed(missing, arch).items():
            self._known[key, name] = value
        found = {name: self._known[key, name] for name in names}
        for name, value in found.items():
            self._check(name, value, arch)
        return found

    def _computed(self, names: set[str], arch: Arch) -> dict[str, float]:
        found = {name: float(count(arch)) for name, count in COUNTS.items() if name in names}
        if names <= {*found}:
            return found
        if self.data is not None:
            arch = arch.with_num_classes(len(self.data.classes))
        with seeded(self.probe.seed), torch.inference_mode(False), torch.enable_grad():
            return found | self._seen(names, arch)

    def _seen(self, names: set[str], arch: Arch) -> dict[str, float]:
        found = {"zen": zen_of(arch, self.probe)} if "zen" in names else {}
        if names <= {*COUNTS, *found}:
            return found
        network = fresh_network(arch, self.probe)
        if "synflow" in names:
            found["synflow"] = synflow(network, arch.layers[0].in_channels, self.probe.size)
        if names & {*_CODES}:
            images = self._batch(arch, self.probe.n_code_images).images
            codes = activation_codes(network, images)
            found |= {"naswot": naswot(codes), "swap": swap(codes)}
        if names & {*_GRADIENTS}:
            found |= self._gradient_scores(network, arch, with_zico="zico" in names)
        return found

    def _gradient_scores(
        self, network: Network, arch: Arch, *, with_zico: bool
    ) -> dict[str, float]:
        n_batches, size = self.probe.n_batches, self.probe.batch_size
        whole = self._batch(arch, n_batches * size)
        parts = [slice(start, start + size) for start in range(0, n_batches * size, size)]
        batches = [Batch(images=whole.images[part], labels=whole.labels[part]) for part in parts]
        gradients = Gradients.of(network, batches if with_zico else batches[:1])
        found = {"grad_norm": gradients.grad_norm(), "snip": gradients.snip()}
        return found | ({"zico": gradients.zico()} if with_zico else {})

    def _batch(self, arch: Arch, n_images: int) -> Batch:
        channels, n_classes = arch.layers[0].in_channels, arch.num_classes
        known = self._batches.get((channels, n_classes, n_images))
        if known is None:
            known = draw(self.probe, self.data, n_images, channels=channels, n_classes=n_classes)
            self._batches[channels, n_classes, n_images] = known
        return known

    def _check(self, name: str, value: float, arch: Arch) -> None:
        if not isfinite(value) or (value <= 0 and name not in LOGARITHMS):
            raise ScoreError(
                f"{name} of {arch.name} ({arch.key()}) must be a finite number"
                f"{'' if name in LOGARITHMS else ' above 0'}, but is {value:g} at seed "
                f"{self.probe.seed}. Leave {name} out of scores, or change seed or size."
            )
