"""What a session times: layers alone, chains of layers, and whole networks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np

from nas.arch import Arch, Layer
from nas.space import SearchSpace

# Of so many random networks for each that is wanted, those that cover the rows best are taken.
N_DRAWN = 20
MAX_TRIES = 200
CHAIN_LENGTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Layers that run one after the other as one model: one, a chain, or a whole network."""

    name: str
    layers: tuple[Layer, ...]
    is_network: bool = False

    @property
    def is_layer(self) -> bool:
        """Tell whether it is one layer alone."""
        return len(self.layers) == 1

    @classmethod
    def of_layers(cls, *layers: Layer) -> "Subject":
        """Return a layer or a chain, named by its layers."""
        return cls(name=" | ".join(map(str, layers)), layers=layers)

    @classmethod
    def of_network(cls, arch: Arch) -> "Subject":
        """Return a network, named by its key; no layer's text begins like that."""
        return cls(name=f"net {arch.key()}", layers=arch.layers, is_network=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What is timed beside the layers: to correct the rows, and to check them."""

    calibration: tuple[Subject, ...] = ()
    unseen: tuple[Subject, ...] = ()
    baselines: Mapping[str, Subject] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Subject, ...]:
        """Return the different chains and networks."""
        probes = (*self.calibration, *self.unseen, *self.baselines.values())
        return tuple({probe.name: probe for probe in probes}.values())


def choose_probes(
    spaces: Sequence[SearchSpace],
    baselines: Sequence[Arch],
    *,
    n_calibration: int,
    n_check: int,
    seed: int,
) -> Probes:
    """Return networks of the spaces in equal parts; no calibration network is checked on.

    The check's networks are plain random draws, and the baselines. The calibration's are drawn to
    cover the rows evenly: rare layers, which a plain draw would leave to one or two networks, come
    first. With them come as many chains over the rows of spaces and baselines. Spaces too small for
    that many different networks give fewer.
    """
    rng = np.random.default_rng(seed)
    taken = {arch.key() for arch in baselines}
    unseen = _draw(spaces, n_check, rng, taken) if n_check else []
    taken |= {arch.key() for arch in unseen}
    calibration: list[Subject] = []
    if n_calibration:
        drawn = _draw(spaces, N_DRAWN * n_calibration, rng, taken)
        calibration = [*map(Subject.of_network, _covering(drawn, n_calibration))]
        rows = [layer for space in spaces for layer in space.layers()]
        rows += [layer for arch in baselines for layer in arch.layers]
        calibration += choose_chains(rows, n_calibration, rng)
    return Probes(
        calibration=tuple(calibration),
        unseen=tuple(map(Subject.of_network, unseen)),
        baselines={arch.name: Subject.of_network(arch) for arch in baselines} if n_check else {},
    )


def choose_chains(layers: Iterable[Layer], n: int, rng: np.random.Generator) -> list[Subject]:
    """Return `n` chains of three layers that fit each other, those chained least often first.

    A head ends a network and is in none; layers that nothing fits are in none either.
    """
    rows = list(dict.fromkeys(layer for layer in layers if layer.op != "head"))
    followers: dict[tuple[int, int], list[Layer]] = {}
    for layer in rows:
        followers.setdefault((layer.size, layer.in_channels), []).append(layer)
    counts: Counter[Layer] = Counter()
    found: dict[str, Subject] = {}
    for _ in range(n * MAX_TRIES):
        if len(found) == n:
            break
        chain = [_rarest(rows, counts, rng)]
        while len(chain) < CHAIN_LENGTH:
            fitting = followers.get((chain[-1].out_size, chain[-1].out_channels), [])
            if not fitting:
                break
            chain.append(_rarest(fitting, counts, rng))
        counts.update(chain)
        if len(chain) > 1:
            subject = Subject.of_layers(*chain)
            found[subject.name] = subject
    return list(found.values())


def _rarest(layers: Sequence[Layer], counts: Counter[Layer], rng: np.random.Generator) -> Layer:
    fewest = min(counts[layer] for layer in layers)
    rare = [layer for layer in layers if counts[layer] == fewest]
    return rare[rng.integers(len(rare))]


def _draw(
    spaces: Sequence[SearchSpace], n: int, rng: np.random.Generator, taken: set[str]
) -> list[Arch]:
    found: dict[str, Arch] = {}
    for space in islice(cycle(spaces), n * MAX_TRIES):
        if len(found) == n:
            break
        arch = space.random(rng)
        if arch.key() not in taken:
            found[arch.key()] = arch
    return list(found.values())


def _covering(drawn: Sequence[Arch], n: int) -> list[Arch]:
    """Return `n` of the networks, each the one whose layers the earlier ones hold least often."""
    counts: Counter[Layer] = Counter()
    left, chosen = list(drawn), list[Arch]()
    while left and len(chosen) < n:
        gains = [sum(1 / (1 + counts[layer]) ** 2 for layer in arch.layers) for arch in left]
        best = left.pop(int(np.argmax(gains)))
        counts.update(best.layers)
        chosen.append(best)
    return chosen
