"""Judging proxies: which networks, asked how, and with what figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, spearmanr

from nas.arch import Arch
from nas.cost import count_macs, count_params
from nas.errors import NasError
from nas.fidelity.figures import Region, Scores
from nas.fidelity.judgement import Judgement, Truths
from nas.fidelity.rank_agreement import Estimate, resamples
from nas.fidelity.scoring import bars, check_proxy, scores_of, target_of
from nas.fidelity.selection import Selection, madds_table, random_networks, select, shuffled
from nas.fidelity.settings import FidelitySettings
from nas.fidelity.trained import FIRST_SEED, train_truth
from nas.latency.table import LatencyTable
from nas.search.records import Target
from nas.space import SearchSpace
from nas.steps import OnStep

Array = NDArray[np.float64]
SPACE = SearchSpace.load("tiny")
TABLE = madds_table(SPACE.layers())
ARCHS = tuple(islice(random_networks(SPACE, 0), 40))
NUMBERS = {arch.key(): number for number, arch in enumerate(ARCHS)}
TARGET = target_of(SPACE, 1.0)


class FailedError(NasError):
    """What a network brings about."""


@dataclass
class Known:
    """A proxy that knows a figure of each network; NaN and errors as they are given."""

    top1: Array
    failing: dict[int, NasError] = field(default_factory=dict)

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        numbers = [NUMBERS[arch.key()] for arch in archs]
        for number in numbers:
            if number in self.failing:
                raise self.failing[number]
        return self.top1[numbers], np.zeros(len(archs))


@dataclass
class Prepared(Known):
    """Likewise, once it was prepared."""

    seen: list[tuple[str, int]] = field(default_factory=list)

    def prepare(self, targets: Sequence[Target], table: LatencyTable, on_step: OnStep) -> None:
        self.seen = [(one.name, len(table.rows)) for one in targets]


@dataclass
class Taught:
    """Answers with what it was told, and with the MAdds of what it was not."""

    n_train: int
    lessons: list[dict[str, float]] = field(default_factory=list)

    def learn(self, archs: Sequence[Arch], top1: ArrayLike) -> None:
        keys = [arch.key() for arch in archs]
        self.lessons.append(dict(zip(keys, np.asarray(top1).tolist(), strict=True)))

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        assert not {arch.key() for arch in archs} & self.lessons[-1].keys()
        return np.array([float(count_macs(arch)) for arch in archs]), np.ones(len(archs))


class Choosing(Taught):
    """Likewise, and wants to be told of the largest."""

    def choose(self, candidates: Sequence[Arch], n: int) -> list[int]:
        order = sorted(range(len(candidates)), key=lambda one: -count_macs(candidates[one]))
        return order[:n]


@dataclass
class Result:
    """What became of a training."""

    top1: float
    seconds: float = 2.0


@dataclass
class Stored:
    """A proxy that trains, and a trainer: top-1 is the number of the network plus the seed's."""

    seed: int = 0
    repeats: int = 2
    asked: list[tuple[int, int]] = field(default_factory=list)
    failing: frozenset[tuple[int, int]] = frozenset()

    def train(self, arch: Arch, seed: int) -> Result:
        number = NUMBERS[arch.key()]
        self.asked.append((number, seed))
        if (number, seed) in self.failing:
            raise FailedError(f"{number} fails")
        return Result(top1=float(number + seed % 10))

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        means = [self.train(one, seed).top1 for one in archs for seed in (self.seed,)]
        return np.array(means), np.zeros(len(archs))


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def ask(proxy: object, labels: Array | None = None, n_splits: int = 3) -> Scores:
    return scores_of(
        proxy,  # type: ignore[arg-type]
        "mine",
        ARCHS,
        np.arange(40.0) if labels is None else labels,
        target=TARGET,
        table=TABLE,
        n_splits=n_splits,
        seed=0,
        on_step=silent,
    )


def test_the_sample_is_random_and_the_band_is_filled() -> None:
    found = select(random_networks(SPACE, 3), TABLE, n=50, n_band=20, band=0.05)
    macs = np.array([count_macs(arch) for arch in found.archs]) / 1e6
    assert len({arch.key() for arch in found.archs}) == len(found) == 70
    assert found.is_sample.tolist() == [True] * 50 + [False] * 20
    assert found.ms == pytest.approx(macs)
    middle = np.median(macs[:50])
    assert found.median_ms == pytest.approx(middle)
    assert found.unit == "M MAdds"
    assert found.in_band.tolist() == [abs(one / middle - 1) <= 0.05 for one in macs]
    assert found.in_band[50:].all()
    assert 0 < found.in_band[:50].sum() < 25
    assert found.archs[:50] == tuple(islice(random_networks(SPACE, 3), 50))


def test_a_selection_takes_what_there_is() -> None:
    everything = select(shuffled(ARCHS, 0), TABLE, n=None, n_band=5, band=0.5)
    assert set(everything.archs) == set(ARCHS)
    assert everything.archs != ARCHS
    few = select(shuffled(ARCHS, 0), TABLE, n=30, n_band=40, band=0.1)
    assert 30 <= len(few) < 40
    assert few.in_band[30:].all()
    with pytest.raises(NasError, match="n must be at most 40, as there are no more, but is 41"):
        select(shuffled(ARCHS, 0), TABLE, n=41, n_band=0, band=0.1)


def test_ms_are_those_of_a_table() -> None:
    table = LatencyTable.load("pixel_cpu")
    found = select(random_networks(SPACE, 0), table, n=10, n_band=0, band=0.1)
    assert found.ms.tolist() == pytest.approx([table.predict_ms(arch) for arch in found.archs])
    assert (found.unit, found.table) == ("ms", "pixel_cpu")


def test_a_network_without_figure_is_named_and_left_out() -> None:
    top1 = np.arange(40.0)
    top1[3], top1[4] = nan, np.inf
    scores = ask(Known(top1, failing={7: FailedError("out of memory")}))
    kept = [number for number in range(40) if number not in (3, 4, 7)]
    assert scores.values[0, kept].tolist() == kept
    assert np.isnan(scores.values[0, [3, 4, 7]]).all()
    assert scores.reasons == {
        ARCHS[3].key(): "its figure is nan",
        ARCHS[4].key(): "its figure is inf",
        ARCHS[7].key(): "out of memory",
    }


def test_an_error_of_the_options_is_not_the_networks() -> None:
    with pytest.raises(NasError, match="no data"):
        ask(Known(np.arange(40.0), failing={7: NasError("no data")}))


def test_a_proxy_is_prepared_on_the_space() -> None:
    proxy = Prepared(np.arange(40.0))
    assert ask(proxy).prepared_s > 0
    assert proxy.seen == [("tiny", len(SPACE.layers()))]
    check_proxy(proxy, "mine", n=40, has_space=True)
    with pytest.raises(NasError, match=r"mine is prepared on a space.* Add space="):
        check_proxy(proxy, "mine", n=40, has_space=False)


@pytest.mark.parametrize("kind", [Taught, Choosing])
def test_a_taught_proxy_is_asked_about_the_others(kind: type[Taught]) -> None:
    proxy, labels = kind(n_train=12), np.arange(40.0)
    labels[5] = nan
    scores = ask(proxy, labels, n_splits=4)
    assert (scores.values.shape, scores.n_labels) == ((4, 40), 12)
    macs = np.array([count_macs(arch) for arch in ARCHS])
    for lesson, row in zip(proxy.lessons, scores.values, strict=True):
        assert len(lesson) == 12
        taught = [NUMBERS[key] for key in lesson]
        assert list(lesson.values()) == taught  # the label is the number of the network
        assert 5 not in taught
        assert np.flatnonzero(np.isnan(row)).tolist() == sorted(taught)
        assert np.nanmax(np.abs(row / macs - 1)) == 0
    assert len({tuple(sorted(one)) for one in proxy.lessons}) == 4


def test_a_choosing_proxy_gets_its_wish_from_half_of_the_networks() -> None:
    choosing = Choosing(n_train=10)
    ask(choosing, n_splits=6)
    sizes = sorted((count_macs(arch) for arch in ARCHS), reverse=True)
    for lesson in choosing.lessons:
        least = min(count_macs(ARCHS[NUMBERS[key]]) for key in lesson)
        assert sizes[9] > least >= sizes[29]
    every = Choosing(n_train=25)
    ask(every)
    assert all(len(lesson) == 25 for lesson in every.lessons)


@pytest.mark.parametrize("n_train", [0, 31])
def test_a_proxy_that_learns_too_much_is_refused(n_train: int) -> None:
    with pytest.raises(NasError, match=r"at least 10 others, but there are 40. Lower"):
        check_proxy(Taught(n_train=n_train), "mine", n=40, has_space=False)


def test_the_bars_are_madds_and_parameters() -> None:
    macs, params = bars(ARCHS)
    assert (macs.name, params.name) == ("MAdds", "params")
    assert macs.values[0].tolist() == [count_macs(arch) for arch in ARCHS]
    assert params.values[0].tolist() == [count_params(arch) for arch in ARCHS]


def test_every_network_is_trained_with_every_seed() -> None:
    trainer = Stored(failing=frozenset({(2, FIRST_SEED + 1)}))
    truths = train_truth(trainer, ARCHS, "here", n_trainings=2, on_step=silent)
    assert trainer.asked == [(n, FIRST_SEED + r) for r in range(2) for n in range(40)]
    assert truths.top1.shape == (2, 40)
    assert truths.top1[:, 7].tolist() == [7, 8]
    assert isnan(truths.top1[1, 2]) and truths.top1[0, 2] == 2
    assert truths.reasons == {ARCHS[2].key(): "2 fails"}
    assert truths.seconds == 2.0


def test_where_nothing_can_be_trained_the_reason_is_said() -> None:
    failing = frozenset((number, FIRST_SEED) for number in range(40))
    with pytest.raises(NasError, match=r"no network could be trained. The first: 0 fails"):
        train_truth(Stored(failing=failing), ARCHS, "here", n_trainings=1, on_step=silent)


def test_time_of_a_stored_training_is_what_it_once_took() -> None:
    assert ask(Stored(repeats=3)).seconds == pytest.approx(6.0)


def test_figures_are_those_of_the_same_networks() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 40))
    good = truth + rng.normal(0, 0.3, size=(1, 40))
    good[0, 11] = nan
    counted = np.arange(40) % 2 == 1
    scores = (Scores(name="mine", values=good, seconds=0), *bars(ARCHS))
    region = Region.of(scores, truth, counted, resamples(40, 100, seed=0))
    kept = [number for number in range(1, 40, 2) if number != 11]
    assert region.n == 19
    assert [one.name for one in region.scores] == ["mine", "MAdds", "params"]
    for one, values in zip(
        region.scores, (good[0], *(bar.values[0] for bar in scores[1:])), strict=True
    ):
        found = one.estimates
        expected = kendalltau(values[kept], truth[0, kept]).statistic
        assert found["kendall"].value == pytest.approx(expected)
        expected = spearmanr(values[kept], truth[0, kept]).statistic
        assert found["spearman"].value == pytest.approx(expected)
        assert found["kendall"].low < found["kendall"].value < found["kendall"].high
    own, bar = (region.scores[place].estimates["kendall"].value for place in (0, 1))
    assert region.differences[0].name == "MAdds"
    assert region.differences[0].estimates["kendall"].value == pytest.approx(own - bar)
    assert region.repeatability is None
    assert not region.is_small


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 40))
    noisy = truth + rng.normal(0, 1, size=(1, 40))
    twice = noisy + rng.normal(0, 0.001, size=(1, 40))
    scores = [
        Scores(name=name, values=one, seconds=0) for name, one in (("a", noisy), ("b", twice))
    ]
    region = Region.of(scores, truth, np.ones(40, dtype=bool), resamples(40, 200, seed=0))
    alone = region.scores[0].estimates["kendall"]
    difference = region.differences[0].estimates["kendall"]
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)


def test_splits_are_averaged() -> None:
    truth = np.arange(40.0)[None]
    values = np.full((2, 40), nan)
    values[0, :20], values[1, 20:] = np.arange(20), -np.arange(20)
    scores = (Scores(name="mine", values=values, seconds=0), *bars(ARCHS))
    region = Region.of(scores, truth, np.ones(40, dtype=bool), resamples(40, 20, seed=0))
    assert region.scores[0].estimates["kendall"].value == pytest.approx(0)
    assert region.n == 20
    macs = scores[1].values[0]
    halves = [
        kendalltau(macs[half], truth[0, half]).statistic for half in (slice(20), slice(20, 40))
    ]
    assert region.scores[1].estimates["kendall"].value == pytest.approx(np.mean(halves))
    assert scores[0].mean_values.tolist() == [*range(20), *(-one for one in range(20))]


def test_repeatability_is_the_tau_between_trainings() -> None:
    rng = np.random.default_rng(1)
    expected = rng.normal(60, 3, size=40)
    top1 = expected + rng.normal(0, 1, size=(3, 40))
    top1[1, 4] = nan
    region = Region.of(bars(ARCHS), top1, np.ones(40, dtype=bool), resamples(40, 50, seed=0))
    found, kept = region.repeatability, np.arange(40) != 4
    assert found is not None
    pairs = [
        kendalltau(top1[a, kept], top1[b, kept]).statistic for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert found.tau.value == pytest.approx(np.mean(pairs))
    assert found.tau.value < found.reachable.value < 1
    assert found.training_std == pytest.approx(1, abs=0.3)
    assert found.network_std == pytest.approx(3, abs=0.8)
    assert region.n == 39


def judged(top1: Array, scores: Scores, n_band: int = 0, band: float = 0.1) -> Judgement:
    selection = Selection(
        archs=ARCHS,
        is_sample=np.arange(40) < 40 - n_band,
        ms=TABLE.predict_many_ms(ARCHS),
        band=band,
        table="MAdds",
    )
    return Judgement.of(
        selection,
        Truths(origin="there", top1=top1),
        (scores, *bars(ARCHS)),
        facts={"proxy": "mine"},
        notes=["first"],
        n_bootstrap=50,
    )


def test_the_file_has_every_figure_and_no_nan(tmp_path: Path) -> None:
    top1 = np.arange(40.0)[None].repeat(2, axis=0)
    top1[:, 1] = nan
    values = np.full((1, 40), 3.0)
    values[0, 0] = nan
    scores = Scores(name="mine", values=values, seconds=0.5, reasons={ARCHS[0].key(): "too large"})
    judgement = judged(top1, scores, n_band=10)
    judgement.save(tmp_path / "fidelity.json")
    content = json.loads((tmp_path / "fidelity.json").read_text())
    assert content["all"]["n"] == 28
    assert content["all"]["scores"]["mine"]["kendall"] == {"value": None, "low": None, "high": None}
    assert content["all"]["differences"]["params"]["spearman"]["value"] is None
    assert -1 < content["all"]["scores"]["params"]["kendall"]["value"] < 1
    assert content["all"]["repeatability"]["kendall"]["value"] == 1
    assert content["band"]["middle"] == pytest.approx(judgement.selection.median_ms)
    first, second, third, *_ = content["networks"]
    assert (first["left_out"], first["score"], second["top1"]) == ("too large", None, None)
    assert (third["trainings"], third["macs"]) == ([2, 2], count_macs(ARCHS[2]))
    assert [one["is_sample"] for one in content["networks"]] == [True] * 30 + [False] * 10


def test_what_weakens_the_figures_is_noted() -> None:
    values = np.arange(40.0)[None]
    whole = Scores(name="mine", values=values, seconds=0)
    failing = Scores(name="mine", values=values, seconds=0, reasons={ARCHS[0].key(): "too large"})
    twice = judged(values.repeat(2, axis=0), whole, band=0.02)
    once = judged(values, failing, band=0.02)
    assert 0 < twice.in_band.n < 10
    assert [note.split()[0] for note in twice.notes] == ["first", "Only"]
    assert [note.split()[0] for note in once.notes] == ["first", "1", "Only", "Each"]
    assert "too large" in once.notes[1]
    assert f"Only {once.in_band.n:.0f} networks lie in the band" in once.notes[2]


def test_trainings_that_do_not_agree_are_noted() -> None:
    top1 = np.random.default_rng(1).normal(size=(2, 40))
    noted = judged(top1, Scores(name="mine", values=top1[:1], seconds=0)).notes
    assert [note.split()[0] for note in noted] == ["first", "Two"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracies": None}, "Add accuracies=<csv>, or data=digits"),
        ({"n": 9}, "n must be an integer from 10 to 5000, but is 9"),
        ({"n": 5001}, "n must be an integer from 10 to 5000, but is 5001"),
        ({"n_band": -1}, "n_band must be"),
        ({"n_splits": 0}, "n_splits must be"),
        ({"n_bootstrap": -1}, "n_bootstrap must be"),
        ({"seed": -1}, "seed must be"),
        ({"band": float("nan")}, "band must be a share between 0 and 1, but is nan"),
        ({"repeats": 2}, "repeats trains networks, but accuracies= gives"),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"proxy": {}, "truth": {}, "accuracies": "mine.csv"}
    FidelitySettings(**settings).check()
    with pytest.raises(NasError, match=message):
        FidelitySettings(**(settings | options)).check()


def test_a_perfect_proxy_is_perfect() -> None:
    values = np.arange(40.0)[None]
    found = judged(values, Scores(name="mine", values=values, seconds=0)).over_all.scores[0]
    assert set(found.estimates.values()) == {Estimate(value=1.0, low=1.0, high=1.0)}
