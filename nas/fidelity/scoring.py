"""Ask a proxy about networks, in the way that it works: prepared, taught, or at once."""

import time
from collections.abc import Callable, Sequence
from math import nan
from typing import Protocol, runtime_checkable

import numpy as np

from nas.arch import Arch
from nas.cost import count_macs, count_params
from nas.errors import NasError
from nas.fidelity.answers import Answers, answers_of
from nas.fidelity.figures import Scores
from nas.fidelity.rank_agreement import Array
from nas.fidelity.teaching import MIN_TESTED, Teachable, scores_when_taught
from nas.fidelity.trained import Trained
from nas.latency.table import LatencyTable
from nas.objective import Reward
from nas.search.records import Learner, Proxy, Target
from nas.space import SearchSpace
from nas.steps import OnStep


@runtime_checkable
class Storing(Protocol):
    """A proxy that trains each network once for each of its seeds, and keeps the results."""

    seed: int
    repeats: int

    def train(self, arch: Arch, seed: int) -> Trained:
        """Return what became of one training, from the store or by training now."""


def check_proxy(proxy: Proxy, name: str, *, n: int, has_space: bool) -> None:
    """Refuse a proxy that could not be asked about `n` networks, before any of them is trained.

    Raises:
        NasError: it learns from too many of them, or needs the space that they are from.
    """
    if isinstance(proxy, Teachable):
        if not 1 <= proxy.n_train <= n - MIN_TESTED:
            raise NasError(
                f"proxy {name} learns from {proxy.n_train} networks and must be asked about at "
                f"least {MIN_TESTED} others, but there are {n}. Lower proxy.n_train or raise n."
            )
    elif isinstance(proxy, Learner) and not has_space:
        raise NasError(
            f"proxy {name} is prepared on a space, but the networks have none. Add space=<name or "
            "file>."
        )


def target_of(space: SearchSpace, target_ms: float) -> Target:
    """Return what a proxy that learns the searched spaces is prepared on."""
    return Target(name=space.name, space=space, target_ms=target_ms, objective=Reward(), n_trials=1)


def scores_of(
    proxy: Proxy,
    name: str,
    archs: Sequence[Arch],
    labels: Array,
    *,
    target: Target | None,
    table: LatencyTable,
    n_splits: int,
    seed: int,
    on_step: OnStep,
) -> Scores:
    """Ask a proxy about networks: taught some of their accuracies, or prepared, or at once.

    `labels` are one training's top-1 of each network in percent, NaN where it failed. A proxy that
    learns the searched spaces is prepared on `target` and `table`.

    Raises:
        NasError: what the proxy raises about its options or its data.
    """
    if isinstance(proxy, Teachable):
        return scores_when_taught(
            proxy, name, archs, labels, n_splits=n_splits, seed=seed, on_step=on_step
        )
    begun, prepared_s = time.perf_counter(), 0.0
    if isinstance(proxy, Learner) and target is not None:
        proxy.prepare([target], table, on_step)
        prepared_s = time.perf_counter() - begun
    found = answers_of(proxy, archs, lambda done: on_step(f"asking {name}", done, len(archs)))
    return Scores(
        name=name,
        values=np.array([found.top1]),
        seconds=_training_s(proxy, archs, found),
        prepared_s=prepared_s,
        reasons=found.reasons,
    )


def _training_s(proxy: Proxy, archs: Sequence[Arch], found: Answers) -> float:
    """Return the seconds of a network; of stored trainings those that they once took."""
    if not isinstance(proxy, Storing):
        return found.seconds
    seeds = range(proxy.seed, proxy.seed + proxy.repeats)
    known = [arch for arch in archs if arch.key() not in found.reasons]
    took = [sum(proxy.train(arch, seed).seconds for seed in seeds) for arch in known]
    return sum(took) / len(took) if took else nan


def bars(archs: Sequence[Arch]) -> tuple[Scores, Scores]:
    """Return what any proxy must beat: MAdds and parameters."""
    return _counted("MAdds", count_macs, archs), _counted("params", count_params, archs)


def _counted(name: str, count: Callable[[Arch], int], archs: Sequence[Arch]) -> Scores:
    begun = time.perf_counter()
    values = np.array([[float(count(arch)) for arch in archs]])
    return Scores(
        name=name,
        values=values,
        seconds=(time.perf_counter() - begun) / max(1, len(archs)),
    )
