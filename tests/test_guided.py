"""The guided proxy on made-up accuracies: what it trains, what it finds, what it never repeats."""

from collections.abc import Callable, Sequence
from math import log2
from pathlib import Path

import numpy as np
import pytest
import yaml
from training_data import patterns

from nas.arch import Arch
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.objective import Absolute, Constraint, Objective, Pareto, Reward
from nas.paths import SHIPPED
from nas.proxies.features import Array
from nas.proxies.guided.candidates import candidates_of
from nas.proxies.guided.favourites import favourites
from nas.proxies.guided.proxy import Guided
from nas.proxies.guided.regression import GuidedRegression
from nas.search.records import Learner, Target
from nas.space import SearchSpace
from nas.training.conditions import TrainingError

SPACE = SearchSpace.load("mobilenet_v3_small")
TABLE = LatencyTable.load("pixel_cpu")
TARGET_MS = TABLE.predict_ms(Arch.load("mobilenet_v3_small"))
NOISE = 0.5


def made_up(arch: Arch) -> float:
    """Return a top-1 of which late expansions, squeezes, kernels and h-swish each are a part."""
    points = sum(
        (0.3 + 0.1 * number) * log2(layer.mid_channels / layer.in_channels)
        + 0.5 * (layer.se > 0)
        + 0.3 * (layer.kernel > 3)
        + 0.3 * (layer.act == "hswish")
        for number, layer in enumerate(arch.layers)
        if layer.op == "mbconv"
    )
    return 90 - 60 * float(np.exp(-points / 15))


class MadeUp:
    """A trainer that keeps what it trained in `stored`; `fails` may raise before a training."""

    def __init__(
        self, stored: dict[str, float], fails: Callable[[int], None] | None = None
    ) -> None:
        self.stored = stored
        self.paid = list[Arch]()
        self._fails = fails

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        for arch in archs:
            if arch.key() not in self.stored:
                if self._fails is not None:
                    self._fails(len(self.paid))
                self.paid.append(arch)
                rng = np.random.default_rng(list(arch.key().encode()))
                self.stored[arch.key()] = made_up(arch) + NOISE * rng.standard_normal()
        top1 = np.array([self.stored[arch.key()] for arch in archs])
        return top1, np.full(len(archs), NOISE)


def target(
    space: SearchSpace = SPACE, objective: Objective | None = None, ms: float = TARGET_MS
) -> Target:
    objective = objective or Constraint()
    return Target(name="small", space=space, target_ms=ms, objective=objective, n_trials=100)


def guided(trainer: MadeUp, n_train: int = 20, seed: int = 0) -> Guided:
    return Guided(
        trainer=trainer,
        n_train=n_train,
        rounds=2,
        n_candidates=100,
        n_evaluations=512,
        seed=seed,
    )


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@pytest.mark.slow
def test_twenty_trainings_find_better_than_forty_at_random() -> None:
    gains = []
    for seed in range(3):
        trainer = MadeUp({})
        proxy = guided(trainer, seed=seed)
        proxy.prepare([target()], TABLE, silent)
        others = candidates_of(SPACE, TABLE, [TARGET_MS], 100, seed=100 + seed)
        within = [arch for arch in [*trainer.paid, *others] if TABLE.predict_ms(arch) <= TARGET_MS]
        found = within[int(np.argmax(proxy.predict(within)[0]))]
        rng = np.random.default_rng(seed)
        drawn = [SPACE.random(rng) for _ in range(40)]
        fast = [arch for arch in drawn if TABLE.predict_ms(arch) <= TARGET_MS]
        labels, _ = MadeUp({}).predict(fast)
        gains.append(made_up(found) - made_up(fast[int(np.argmax(labels))]))
    assert np.mean(gains) > 0.5
    assert min(gains) > 0


def test_favourites_meet_the_target_and_are_better_than_the_first_half() -> None:
    trainer = MadeUp({})
    guided(trainer).prepare([target()], TABLE, silent)
    assert len(trainer.paid) == 20
    first, later = trainer.paid[:10], trainer.paid[10:]
    assert max(TABLE.predict_many_ms(later)) <= TARGET_MS
    good = np.mean([made_up(arch) for arch in first if TABLE.predict_ms(arch) <= TARGET_MS])
    assert np.mean([made_up(arch) for arch in later]) > good + 1


def test_what_was_trained_is_never_trained_again() -> None:
    whole = MadeUp({})
    expected = guided(whole)
    expected.prepare([target()], TABLE, silent)

    def interrupt(n_paid: int) -> None:
        if n_paid == 13:
            raise KeyboardInterrupt

    cut = MadeUp({}, fails=interrupt)
    with pytest.raises(KeyboardInterrupt):
        guided(cut).prepare([target()], TABLE, silent)
    resumed = MadeUp(cut.stored)
    again = guided(resumed)
    again.prepare([target()], TABLE, silent)
    assert [arch.key() for arch in [*cut.paid, *resumed.paid]] == [
        arch.key() for arch in whole.paid
    ]
    archs = candidates_of(SPACE, TABLE, [TARGET_MS], 20, seed=5)
    assert np.array_equal(again.predict(archs), expected.predict(archs))


def test_a_network_that_cannot_be_trained_costs_its_place_alone() -> None:
    def fails(n_paid: int) -> None:
        if n_paid in (3, 12):
            trainer.paid.append(trainer.paid[0])
            raise TrainingError("its loss is no number")

    trainer = MadeUp({}, fails=fails)
    proxy, steps = guided(trainer), list[int]()
    proxy.prepare([target()], TABLE, lambda what, done, total: steps.append(done))
    assert len(trainer.stored) == 18
    assert steps == list(range(1, 21))
    assert np.isfinite(proxy.predict([Arch.load("mobilenet_v3_small")])).all()


def test_when_nothing_can_be_trained_the_reason_is_told() -> None:
    def fails(n_paid: int) -> None:
        raise TrainingError("its loss is no number")

    with pytest.raises(NasError, match=r"only 0 of 10 networks of .*: its loss is no number"):
        guided(MadeUp({}, fails=fails)).prepare([target()], TABLE, silent)


@pytest.mark.slow
def test_each_space_has_its_own_trainings_and_targets_of_one_share_them() -> None:
    large = SearchSpace.load("mobilenet_v3_large")
    trainer, steps = MadeUp({}), list[tuple[str, int, int]]()
    proxy = guided(trainer, n_train=8)
    targets = [target(), target(large, ms=40.0), target(ms=1.3 * TARGET_MS)]
    proxy.prepare(targets, TABLE, lambda *step: steps.append(step))
    assert [arch.name for arch in trainer.paid] == [SPACE.name] * 8 + [large.name] * 8
    assert [(done, total) for _, done, total in steps] == [(n, 16) for n in range(1, 17)]
    assert steps[0][0] == f"training networks of {SPACE.name}"
    slow = [TABLE.predict_ms(arch) > TARGET_MS for arch in trainer.paid[4:8]]
    assert slow.count(False) >= 2
    mixed = [SPACE.random(0), large.random(0), Arch.load("mnasnet_a1")]
    means, stds = proxy.predict(mixed)
    alone = [proxy.predict([arch]) for arch in mixed]
    assert means == pytest.approx([float(mean[0]) for mean, _ in alone])
    assert stds == pytest.approx([float(std[0]) for _, std in alone])


@pytest.mark.parametrize("objective", [Reward(), Absolute(), Constraint(), Pareto()])
def test_favourites_suit_the_objective(objective: Objective) -> None:
    archs = candidates_of(SPACE, TABLE, [TARGET_MS], 60, seed=0)
    regression = GuidedRegression.fit(archs, np.array([made_up(arch) for arch in archs]))
    trained = {arch.key() for arch in archs}
    found, again = (
        favourites(
            target(objective=objective),
            TABLE,
            regression,
            6,
            trained=trained,
            n_evaluations=900,
            seed=(1, 2),
        )
        for _ in range(2)
    )
    assert [arch.key() for arch in found] == [arch.key() for arch in again]
    assert len({arch.key() for arch in found} - trained) == 6
    ms = TABLE.predict_many_ms(found) / TARGET_MS
    if isinstance(objective, Pareto):
        assert ms.min() < 0.75
        assert 1 < ms.max() <= 1.4
        return

    def value(arch: Arch) -> float:
        return objective.values(made_up(arch), TABLE.predict_ms(arch), TARGET_MS)[0]

    kept = [arch for arch in archs if TABLE.predict_ms(arch) <= TARGET_MS]
    assert max(map(value, found)) > max(map(value, kept))
    if isinstance(objective, Constraint):
        assert ms.max() <= 1


def test_a_small_space_ends_when_all_of_it_is_trained() -> None:
    sections = SearchSpace.load("tiny").sections
    tiny = SearchSpace(
        name="few", resolution=32, in_channels=3, sections=(*sections[:2], sections[-1])
    )
    table = _table_of(tiny)
    trainer = MadeUp({})
    guided(trainer, n_train=1000).prepare([target(tiny, ms=1.0)], table, silent)
    assert len(trainer.paid) == tiny.size < 1000


def _table_of(space: SearchSpace) -> LatencyTable:
    class Flat(LatencyTable):
        """A table in which every layer takes as long."""

        def predict_many_ms(self, archs: Sequence[Arch]) -> Array:
            return np.ones(len(archs))

    return Flat(name="flat", header={}, rows={})


def test_candidates_are_different_and_half_of_them_near_the_targets() -> None:
    targets_ms = [0.7 * TARGET_MS, 1.5 * TARGET_MS]
    found = candidates_of(SPACE, TABLE, targets_ms, 200, seed=0)
    assert len({arch.key() for arch in found}) == 200
    octaves = np.log2(TABLE.predict_many_ms(found))
    apart = np.abs(octaves[:, None] - np.log2(targets_ms)).min(axis=1)
    assert apart[100:].mean() < 0.7 * apart[:100].mean()
    assert octaves[:100].std() > octaves[100:150].std()


def test_networks_for_other_sizes_of_images_are_not_judged() -> None:
    proxy = guided(MadeUp({}))
    proxy.prepare([target()], TABLE, silent)
    archs = [SPACE.random(0), Arch.load("mobilenet_v2"), SPACE.random(0).scaled(1.0, 160)]
    means, stds = proxy.predict(archs)
    assert np.isfinite(means).tolist() == np.isfinite(stds).tolist() == [True, True, False]


def test_it_learns_from_given_labels_as_fidelity_asks() -> None:
    archs = candidates_of(SPACE, TABLE, [TARGET_MS], 120, seed=0)
    top1 = np.array([made_up(arch) for arch in archs])
    proxy = Guided(n_train=30)
    chosen = proxy.choose(archs, proxy.n_train)
    proxy.learn([archs[index] for index in chosen], top1[chosen])
    rest = sorted(set(range(120)) - set(chosen))
    means, stds = proxy.predict([archs[index] for index in rest])
    assert np.corrcoef(means, top1[rest])[0, 1] > 0.9
    assert (stds > 0).all()


def test_it_says_what_it_lacks() -> None:
    assert isinstance(Guided(), Learner)
    with pytest.raises(NasError, match="must learn before it predicts"):
        Guided().predict([SPACE.random(0)])
    with pytest.raises(NasError, match="proxy guided trains on your data, but none is chosen"):
        Guided().prepare([target()], TABLE, silent)
    with pytest.raises(NasError, match="n_train must be an integer from 6"):
        Guided(n_train=5)
    with pytest.raises(NasError, match="recipe"):
        Guided(recipe={"epoch": 3})


def test_the_shipped_options_are_those_of_short_train() -> None:
    shipped = {
        name: yaml.safe_load((SHIPPED / "conf/proxy" / f"{name}.yaml").read_text("utf-8"))
        for name in ("guided", "short_train")
    }
    options = dict(shipped["guided"])
    assert options["recipe"] == shipped["short_train"]["recipe"]
    assert options.pop("_target_") == "nas.proxies.guided.proxy.Guided"
    for name in ("risk", "data", "seed"):
        options.pop(name)
    assert Guided(**options).n_train == 40


@pytest.mark.slow
def test_real_trainings_are_stored_and_not_repeated(tmp_path: Path) -> None:
    def run(n_train: int) -> Guided:
        proxy = Guided(
            patterns(),
            {"epochs": 1, "n_images": 64, "batch_size": 16},
            n_train=n_train,
            rounds=1,
            n_candidates=50,
            n_evaluations=256,
            folder=tmp_path,
        )
        tiny = SearchSpace.load("tiny")
        proxy.prepare([target(tiny, ms=1.0)], _table_of(tiny), silent)
        return proxy

    lines = [run(6).predict([SearchSpace.load("tiny").random(0)])[0].tolist() for _ in range(2)]
    assert lines[0] == lines[1]
    assert len((tmp_path / "results.jsonl").read_text("utf-8").splitlines()) == 6
