"""NetAdapt: each step is the best by brute force, and what is interrupted goes on."""

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Enter
from rich.progress import Progress
from training_data import SMALL, patterns

from nas.adapt.__main__ import main
from nas.adapt.judges import FineTuning
from nas.adapt.netadapt import NetAdapt, check_target
from nas.adapt.prices import KnownPrices, MeasuredPrices, ModelledPrices
from nas.adapt.trajectory import Trajectory
from nas.adapt.widths import widths
from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params
from nas.data.augment import resize
from nas.data.images import ImageData
from nas.errors import NasError
from nas.latency.__main__ import main as time_layers
from nas.latency.cost_model import CostModel
from nas.latency.table import LatencyTable
from nas.locks import folder_claimed
from nas.network.build import build
from nas.network.checkpoint import Checkpoint
from nas.training.recipe import Recipe

LARGE = Arch.load("mobilenet_v3_large")
PIXEL = LatencyTable.load("pixel_cpu")
MODEL = CostModel.load("pixel_cpu")


def silent(what: str, done: int, total: int) -> None:
    pass


class ByParams:
    """A judge whose accuracy grows with the logarithm of the parameters alone."""

    def top1(self, arch: Arch) -> float:
        return 60 + 3 * float(torch.tensor(count_params(arch) / 1e6).log())

    def take(self, arch: Arch) -> None:
        pass


def adaptation(folder: Path, target_ms: float) -> NetAdapt:
    return NetAdapt(
        arch=LARGE,
        target_ms=target_ms,
        prices=ModelledPrices(PIXEL, MODEL),
        judge=ByParams(),
        trajectory=Trajectory(folder / "steps.jsonl", {"network": LARGE.key()}),
    )


@pytest.mark.slow
def test_each_step_is_the_best_by_brute_force(tmp_path: Path) -> None:
    run = adaptation(tmp_path, 33.0)
    found = list(run.run(silent))
    saved_ms = 0.01 * found[0].ms
    assert len(found) > 2
    for before, after in pairwise(found):
        wanted_ms = min(saved_ms, before.ms - 33.0)
        assert after.arch.key() == best_by_hand(before.arch, wanted_ms).key()
    assert found[-1].ms <= 33.0 < found[-2].ms


def best_by_hand(arch: Arch, saved_ms: float) -> Arch:
    ms = sum(MODEL.predict_many_ms(arch.layers))
    best, best_ratio = arch, float("inf")
    for width in widths(arch):
        for channels in range(8 * (width.channels // 8), 0, -8):
            if channels == width.channels or not width.is_kept_apart(arch, channels):
                continue
            cut = width.cut(arch, channels)
            gained = ms - sum(MODEL.predict_many_ms(cut.layers))
            if gained >= saved_ms:
                judge = ByParams()
                ratio = (judge.top1(arch) - judge.top1(cut)) / gained
                if ratio < best_ratio:
                    best, best_ratio = cut, ratio
                break
    return best


def test_an_interrupted_adaptation_takes_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = [step.arch.key() for step in adaptation(tmp_path / "whole", 32.5).run(silent)]
    first = adaptation(tmp_path, 32.5).run(silent)
    begun = [next(first).arch.key() for _ in range(2)]
    went_on = [step.arch.key() for step in adaptation(tmp_path, 32.5).run(silent)]
    assert begun + went_on == whole


def test_a_damaged_way_and_another_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    next(adaptation(tmp_path, 32.5).run(silent))
    with pytest.raises(NasError, match=r"holds an adaptation with network .*hydra\.run\.dir"):
        Trajectory(path, {"network": "another"})
    path.write_text(path.read_text()[:-40])
    with pytest.raises(NasError, match=r"steps\.jsonl must be the steps of an adaptation"):
        Trajectory(path, {"network": LARGE.key()})


@pytest.mark.parametrize("target_ms", [0.1, 34.9, 100.0])
def test_a_target_out_of_reach_is_named_at_once(target_ms: float) -> None:
    with pytest.raises(NasError, match=r"target_ms must be from about \d"):
        check_target(LARGE, target_ms, ModelledPrices(PIXEL, MODEL))


def test_a_network_without_widths_is_named() -> None:
    with pytest.raises(NasError, match="mobilenet_v1 has no expansion and no bottleneck"):
        check_target(Arch.load("mobilenet_v1"), 30.0, ModelledPrices(PIXEL, MODEL))


def test_a_table_alone_proposes_only_what_it_has_rows_for() -> None:
    prices = KnownPrices(PIXEL)
    width = next(iter(widths(LARGE)))
    asked = {channels: width.cut(LARGE, channels) for channels in width.smaller}
    for channels, arch in asked.items():
        is_known = all(layer in PIXEL.rows for layer in arch.layers)
        assert (prices.ms_of(arch) is not None) == is_known, channels
    assert any(prices.ms_of(arch) is None for arch in asked.values())


def test_missing_rows_are_measured_once_and_together() -> None:
    measured: list[tuple[Layer, ...]] = []

    def measure(layers: Sequence[Layer]) -> LatencyTable:
        measured.append(tuple(layers))
        known = prices.known()
        rows = {**known.rows, **{one: replace(ROW, layer=one) for one in layers}}
        return replace(known, rows=rows)

    prices = MeasuredPrices(PIXEL, measure)
    width = next(iter(widths(LARGE)))
    cuts = [width.cut(LARGE, channels) for channels in (40, 56)]
    prices.learn(cuts)
    prices.learn(cuts)
    assert len(measured) == 1
    assert set(measured[0]) == {
        layer for cut in cuts for layer in cut.layers if layer not in PIXEL.rows
    }
    rest_ms = sum(PIXEL.rows[one].ms for one in LARGE.layers if one in cuts[0].layers)
    assert prices.ms_of(cuts[0]) == pytest.approx(rest_ms + ROW.ms)


ROW = replace(next(iter(PIXEL.rows.values())), ms=0.25, source="measured")
DATA = patterns()
RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=0.02, augment=False)


def small_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        arch=SMALL,
        weights=build(SMALL).state_dict(),
        classes=DATA.classes,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


def fine_tuning(folder: Path) -> FineTuning:
    return FineTuning(small_checkpoint(), DATA, RECIPE, folder)


def test_fine_tuning_goes_on_with_the_weights_that_are_left(tmp_path: Path) -> None:
    judge = fine_tuning(tmp_path)
    first = judge.top1(judge.present.arch)
    width = list(widths(judge.present.arch))[1]
    cut = width.cut(judge.present.arch, 16)
    trained = judge.top1(cut)
    assert trained > first  # two passes over easy images
    assert fine_tuning(tmp_path).top1(cut) == trained  # kept, not trained again
    judge.take(cut)
    assert judge.present.arch.key() == cut.key()
    again = fine_tuning(tmp_path)
    assert again.present.arch.key() == cut.key()
    assert again.top1(cut) == trained
    assert [one.name for one in tmp_path.iterdir()] == ["present.safetensors"]


def test_large_images_are_shrunk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrunk: list[int] = []

    def counted(pixels: torch.Tensor, size: int) -> torch.Tensor:
        shrunk.extend([len(pixels)] if pixels.shape[-1] > size else [])
        return resize(pixels, size)

    monkeypatch.setattr("nas.training.batches.resize", counted)
    data = patterns(n_train=32, n_validation=16, size=32)
    judge = FineTuning(small_checkpoint(), data, RECIPE, tmp_path)
    for _ in range(2):
        judge.top1(judge.present.arch)
    assert shrunk == [32, 16]


def test_other_classes_than_the_checkpoints_are_named(tmp_path: Path) -> None:
    other = replace(small_checkpoint(), classes=("only one",))
    with pytest.raises(NasError, match="must know the 4 classes"):
        FineTuning(other, DATA, RECIPE, tmp_path)


@pytest.mark.slow
def test_the_command_writes_what_came_of_it(enter: Enter, tmp_path: Path) -> None:
    options = ("arch=mobilenet_v3_large", "+hardware=pixel_cpu", "target_ms=34", "hydra.run.dir=a")
    assert enter(main, *options).returncode == 0
    adapted = Arch.load(tmp_path / "a" / "adapted.yaml")
    ms = sum(MODEL.predict_many_ms(adapted.layers))
    assert ms <= 34
    assert count_macs(adapted) < count_macs(LARGE)
    with (tmp_path / "a" / "trajectory.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["ms"]) == pytest.approx(ms, abs=1e-5)
    assert rows[-1]["key"] == adapted.key()
    page = (tmp_path / "a" / "adaptation.html").read_text()
    assert rows[-1]["what"] in page
    assert f"going on from {len(rows) - 1} steps" in enter(main, *options).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_a_folder_that_another_command_writes_is_refused(enter: Enter, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    options = ("arch=mobilenet_v3_large", "+hardware=pixel_cpu", "target_ms=34.5")
    with folder_claimed(tmp_path / "run"):
        done = enter(main, *options, "hydra.run.dir=run")
    assert done.returncode == 2
    assert "run is being written by another command" in done.stderr


@pytest.mark.slow
def test_another_tables_figures_are_another_adaptation(enter: Enter, tmp_path: Path) -> None:
    slower = {layer: replace(row, ms=row.ms * 1.01) for layer, row in PIXEL.rows.items()}
    options = ("arch=mobilenet_v3_large", "target_ms=34.5", "hydra.run.dir=a", "table=t/t.csv")
    (tmp_path / "t").mkdir()
    PIXEL.save(tmp_path / "t" / "t.csv")
    assert enter(main, *options).returncode == 0
    replace(PIXEL, rows=slower).save(tmp_path / "t" / "t.csv")
    assert "holds an adaptation with table" in enter(main, *options).stderr


LITTLE = Arch(
    name="little",
    layers=tuple(
        map(
            Layer.parse,
            (
                "conv k3 3>16 s2 re @64",
                "mb k3 16>96>24 s1 re @32",
                "mb k3 24>144>24 s1 re @32",
                "head 24>10 @32",
            ),
        )
    ),
)


@pytest.mark.slow
def test_widths_without_rows_are_measured_on_this_machine(enter: Enter, tmp_path: Path) -> None:
    LITTLE.save(tmp_path / "little.yaml")
    given = ("arch=little.yaml", "+hardware=host_cpu")
    assert enter(time_layers, *given, "rounds=4").returncode == 0
    path = tmp_path / "latency_tables" / "host_cpu.csv"
    own = path.read_text()
    ms = LatencyTable.load(path).predict_ms(LITTLE)
    options = (*given, "measure=true", "share=0.15", "hydra.run.dir=a")
    assert enter(main, *options, f"target_ms={0.8 * ms}").returncode == 0
    adapted = Arch.load(tmp_path / "a" / "adapted.yaml")
    table = LatencyTable.load(tmp_path / "a" / "host_cpu.csv")
    assert {table.rows[layer].source for layer in adapted.layers} == {"measured"}
    assert table.predict_ms(adapted) <= 0.8 * ms
    assert LatencyTable.load(path).missing(adapted)
    assert path.read_text() == own
    further = enter(main, *options, f"target_ms={0.7 * ms}")
    assert further.returncode == 0
    assert "going on from" in further.stdout
    assert set(table.rows.items()) <= set(
        LatencyTable.load(tmp_path / "a" / "host_cpu.csv").rows.items()
    )


class OneAtATime(Progress):
    """A display that minds another one beside it, as rich before 14.1 does."""

    n_live = 0

    def start(self) -> None:
        OneAtATime.n_live += 1
        assert OneAtATime.n_live == 1, "two displays at a time"
        super().start()

    def stop(self) -> None:
        OneAtATime.n_live -= 1
        super().stop()


def read_slowly(on_progress: Callable[[int, int], None], **_: object) -> ImageData:
    on_progress(1, 2)
    return DATA


def test_steps_and_data_share_one_display(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.showing_steps.Progress", OneAtATime)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    data = ("data=digits", "data._target_=test_adapt.read_slowly")
    options = ("arch=mobilenet_v3_large", "+hardware=pixel_cpu", "target_ms=34.5")
    done = enter(main, *options, *data)
    assert done.returncode == 0, done.stderr
    assert "reading digits" in done.stdout
    assert "step 1" in done.stdout


def test_a_wrong_target_is_named_before_data_are_read(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(*_: object) -> None:
        raise AssertionError("data were read")

    monkeypatch.setattr("nas.adapt.__main__.read_data", reading)
    options = ("arch=mobilenet_v3_large", "+hardware=pixel_cpu", "target_ms=3000", "data=digits")
    assert "target_ms must be from about" in enter(main, *options).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["+hardware=pixel_cpu", "target_ms=30"], "arch must name a network"),
        (["arch=mobilenet_v3_large", "target_ms=30"], "hardware must be chosen"),
        (["arch=mobilenet_v3_large", "+hardware=pixel_cpu"], "target_ms must be the latency"),
        (["arch=mobilenet_v3_large", "+hardware=pixel_cpu", "target_ms=30", "share=0"], "share"),
        (
            ["arch=mobilenet_v3_large", "+hardware=pixel_cpu", "target_ms=30", "measure=true"],
            "measure=true needs a device",
        ),
        (
            [
                *("arch=mobilenet_v3_small", "+hardware=host_cpu", "table=epyc_milan_cpu"),
                *("target_ms=2.5", "measure=true"),
            ],
            "has device epyc_milan_cpu, not host_cpu",
        ),
        (
            [
                "arch=mobilenet_v3_large",
                "+hardware=pixel_cpu",
                "target_ms=33",
                "proxy=zero_cost",
            ],
            "proxy zero_cost learns a search space first",
        ),
        (
            ["checkpoint=none.safetensors", "+hardware=pixel_cpu", "target_ms=30"],
            "there is no data",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_options_end_as_one_screen(enter: Enter, options: list[str], words: str) -> None:
    done = enter(main, *options)
    assert done.returncode == 2
    assert words in done.stderr
