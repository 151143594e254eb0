"""Ask a proxy about one network after the other, as a search does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

from nas.arch import Arch
from nas.errors import NasError
from nas.fidelity.trained import is_about_a_network
from nas.search.records import Proxy


@dataclass(kw_only=True)
class Answers:
    """The answers to one network after the other; `reasons` for those that are NaN."""

    top1: list[float] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def answers_of(proxy: Proxy, archs: Sequence[Arch], on_network: Callable[[int], None]) -> Answers:
    """Ask about one network at a time, as a search does."""
    found, begun = Answers(), time.perf_counter()
    for number, arch in enumerate(archs, start=1):
        found.top1.append(_answer(proxy, arch, found.reasons))
        on_network(number)
    found.seconds = (time.perf_counter() - begun) / max(1, len(archs))
    return found


def _answer(proxy: Proxy, arch: Arch, reasons: dict[str, str]) -> float:
    try:
        means, _ = proxy.predict([arch])
    except NasError as error:
        if not is_about_a_network(error):
            raise
        reasons[arch.key()] = str(error)
        return nan
    value = float(means[0])
    if not isfinite(value):
        reasons[arch.key()] = f"its figure is {value}"
        return nan
    return value
