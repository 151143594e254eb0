"""NetAdapt as MobileNetV3 uses it: cut what costs the least accuracy a ms, until the target."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from nas.adapt.judges import Judge
from nas.adapt.prices import Prices
from nas.adapt.proposals import Proposal, proposals
from nas.adapt.trajectory import Step, Trajectory, Tried
from nas.adapt.widths import smallest, widths
from nas.arch import Arch
from nas.errors import NasError
from nas.steps import OnStep

SHARE = 0.01
"""Of the first latency, what each step saves at least (arXiv:1905.02244, section 4.2)."""


def check_target(arch: Arch, target_ms: float, prices: Prices) -> None:
    """Refuse what cannot be reached.

    Raises:
        NasError: the network has no widths to cut, a layer has no price, or the target is out of
            reach.
    """
    if not list(widths(arch)):
        raise NasError(
            f"{arch.name} has no expansion and no bottleneck to cut. Choose a network of mbconv "
            "blocks, such as mobilenet_v3_large."
        )
    first_ms = _ms(arch, prices)
    # Where these are not known yet, the way will show how far it leads.
    known = [ms for ms in map(prices.ms_of, smallest(arch)) if ms is not None]
    lowest = min(known, default=0.0)
    if not lowest <= target_ms < first_ms:
        raise NasError(
            f"target_ms must be from about {lowest:.3f} to {first_ms:.3f}, what {arch.name} "
            f"takes, but is {target_ms:g}."
        )


@dataclass(frozen=True, kw_only=True)
class NetAdapt:
    """An adaptation of one network to `target_ms`; each step saves `share` of its first ms.

    Of a step's proposals that is taken which loses the least accuracy for each ms it saves.
    """

    arch: Arch
    target_ms: float
    prices: Prices
    judge: Judge
    trajectory: Trajectory
    share: float = SHARE

    def run(self, on_step: OnStep) -> Iterator[Step]:
        """Yield each step that is not in the trajectory yet, until the target is met.

        Raises:
            NasError: no cut saves enough any more; the steps so far are kept.
        """
        steps = self.trajectory.steps
        if not steps:
            yield self._begin()
        self.judge.take(steps[-1].arch)  # maybe it was interrupted before that
        while steps[-1].ms > self.target_ms:
            yield self._next(steps[-1], self.share * steps[0].ms, on_step)

    def _begin(self) -> Step:
        top1 = self.judge.top1(self.arch)
        ms = _ms(self.arch, self.prices)
        return self._add(Step(arch=self.arch, what="", ms=ms, top1=top1))

    def _next(self, present: Step, saved_ms: float, on_step: OnStep) -> Step:
        # The last step saves no more than what is left.
        saved_ms = min(saved_ms, present.ms - self.target_ms)
        offered = proposals(present.arch, present.ms, saved_ms, self.prices)
        what = f"step {len(self.trajectory.steps)}"
        judged: list[tuple[Proposal, float]] = []
        for number, one in enumerate(offered, start=1):
            judged.append((one, self.judge.top1(one.arch)))
            on_step(what, number, len(offered))
        able = [(one, top1) for one, top1 in judged if isfinite(top1)]
        if not able:
            raise NasError(
                f"no cut of {self.arch.name} saves {saved_ms:.3f} ms at {present.ms:.3f} ms any "
                f"more, of {len(offered)} proposals. The steps so far are kept; choose a higher "
                "target_ms or a smaller step."
            )
        best, top1 = min(able, key=lambda one: (present.top1 - one[1]) / (present.ms - one[0].ms))
        tried = tuple(Tried(what=str(one), ms=one.ms, top1=top1) for one, top1 in able)
        step = self._add(Step(arch=best.arch, what=str(best), ms=best.ms, top1=top1, tried=tried))
        self.judge.take(best.arch)
        return step

    def _add(self, step: Step) -> Step:
        self.trajectory.add(step)
        return step


def _ms(arch: Arch, prices: Prices) -> float:
    prices.learn([arch])
    ms = prices.ms_of(arch)
    return prices.known().predict_ms(arch) if ms is None else ms  # the error names layers
