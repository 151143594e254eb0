"""Each part of a training in full does what it says, by figures computed another way."""

from dataclasses import replace
from math import cos, log, pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from full_training import RECIPE, job, train, train_until
from safetensors.torch import load_file
from torch import Tensor, nn
from training_data import SMALL, patterns

from nas.data.mixing import Mix, draw_mix
from nas.errors import NasError
from nas.network.build import build
from nas.network.checkpoint import Checkpoint
from nas.paths import SHIPPED
from nas.text import read_yaml
from nas.training.full.averaging import Average, floats_of
from nas.training.full.evaluation import right_guesses
from nas.training.full.feed import Part
from nas.training.full.job import Distillation, Place
from nas.training.full.losses import distillation_loss, label_loss
from nas.training.full.networks import start_from, trained_teacher
from nas.training.full.optimizers import learning_rate
from nas.training.full.recipe import FullRecipe

PLAIN = FullRecipe(
    epochs=1,
    batch_size=64,
    learning_rate=0.1,
    momentum=0,
    weight_decay=0,
    schedule="constant",
    crop="none",
    flip=False,
)
"""Nothing but gradients."""
RECIPES = sorted(path.stem for path in (SHIPPED / "conf/recipe").glob("*.yaml"))


class Flat(nn.Module):
    """A network without batch-norm, whose batches do not change each other."""

    def __init__(self, n_classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
        self.classifier = nn.Linear(6, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images).relu().mean(dim=(2, 3))
        logits: Tensor = self.classifier(features)
        return logits


def flat() -> nn.Module:
    torch.manual_seed(0)
    return Flat()


def too_many() -> nn.Module:
    return Flat(7)


def weights(folder: Path, file: str = "last.safetensors") -> dict[str, Tensor]:
    return load_file(folder / file)


def train_flat(folder: Path, recipe: FullRecipe = PLAIN, **more: Any) -> dict[str, Tensor]:
    train(job(folder, recipe, arch=None, **{"make_network": flat, **more}))
    return weights(folder)


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], by: float = 1e-6) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=by)


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(sum((one[name] - other[name]).square().sum() for name in one) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_trains(name: str, tmp_path: Path) -> None:
    recipe = FullRecipe.of(read_yaml(SHIPPED / f"conf/recipe/{name}.yaml"))
    metrics = train(job(tmp_path, replace(recipe, epochs=1, warmup_epochs=0.5, batch_size=32)))
    assert metrics["epochs"] == 1


def test_rates_by_hand() -> None:
    recipe = FullRecipe(epochs=10, learning_rate=2.0, warmup_epochs=2)
    assert learning_rate(recipe, 0) == pytest.approx(0.1)
    assert learning_rate(recipe, 1) == pytest.approx(0.1 + 1.9 / 2)
    assert learning_rate(recipe, 4) == pytest.approx(1 + cos(pi / 4))
    assert learning_rate(recipe, 10) == pytest.approx(0)
    step = replace(recipe, schedule="step", decay_rate=0.5, decay_epochs=3)
    assert [learning_rate(step, one) for one in (2.9, 3, 5.9, 6, 9.5)] == [2, 1, 1, 0.5, 0.25]
    assert learning_rate(replace(recipe, schedule="constant"), 9.9) == 2


def test_smoothed_and_mixed_labels_by_hand() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 1, 0])
    images = torch.zeros(5, 3, 2, 2)
    targets = torch.zeros(5, 3)
    for row in range(5):
        targets[row, labels[row]] += 0.7
        targets[row, labels[row - 1]] += 0.3  # the one before; the first with the last
    targets = 0.9 * targets + 0.1 / 3
    expected = -(targets * logits.softmax(dim=1).log()).sum(dim=1).mean()
    found = label_loss(logits, Part(images=images, labels=labels, mix=Mix(share=0.7)), 0.1)
    torch.testing.assert_close(found, expected)


def test_mixup_by_hand() -> None:
    images = torch.randn(3, 2, 4, 4)
    mixed = Mix(share=0.8).apply(images)
    torch.testing.assert_close(mixed[1], 0.8 * images[1] + 0.2 * images[0])
    torch.testing.assert_close(mixed[0], 0.8 * images[0] + 0.2 * images[2])


def test_the_share_of_a_cut_is_its_area() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        mix = draw_mix(rng, size=12, mixup=0, cutmix=1)
        images = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 12, 12)
        mixed = mix.apply(images)
        assert float(mixed[1].mean()) == pytest.approx(mix.share)
        assert float(mixed[0].mean()) == pytest.approx(1 - mix.share)
        shares.append(mix.share)
    assert min(shares) < 0.2
    assert max(shares) > 0.9


def test_both_ways_of_mixing_take_turns() -> None:
    rng = np.random.default_rng(0)
    boxes = [draw_mix(rng, size=8, mixup=1, cutmix=1).box for _ in range(200)]
    assert 70 < sum(box is None for box in boxes) < 130


def test_the_divergence_from_a_teacher_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    p = [1 / (1 + np.exp(-4 / 2)), 1 / (1 + np.exp(4 / 2))]  # of the teacher, at temperature 2
    q = [1 / (1 + np.exp(1 / 2)), 1 / (1 + np.exp(-1 / 2))]
    expected = 4 * sum(one * log(one / other) for one, other in zip(p, q, strict=True))
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation_loss(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-6)


def test_a_student_of_a_teacher_alone_does_not_look_at_labels(tmp_path: Path) -> None:
    data = patterns()
    wrong = replace(data, train=replace(data.train, labels=(data.train.labels + 1) % 4))
    alone = Distillation(teacher=flat, weight=1.0, temperature=3.0)
    half = replace(alone, weight=0.5)
    found = {}
    for name, own, labels in (
        ("a", alone, data),
        ("b", alone, wrong),
        ("c", half, data),
        ("d", half, wrong),
    ):
        torch.manual_seed(1)
        found[name] = train_flat(tmp_path / name, make_network=Flat, data=labels, distillation=own)
    assert distance(found["a"], found["b"]) == 0
    assert distance(found["c"], found["d"]) > 1e-3


@pytest.mark.slow
def test_a_student_comes_to_answer_as_its_teacher(tmp_path: Path) -> None:
    recipe = replace(PLAIN, epochs=7, batch_size=16, momentum=0.9)
    train(job(tmp_path / "teacher", recipe))
    path = tmp_path / "teacher" / "best.safetensors"
    data = patterns()
    wrong = replace(data, train=replace(data.train, labels=(data.train.labels + 1) % 4))
    taught = Distillation(teacher=path, weight=1.0)
    # All that it can know of the right labels it has from the teacher.
    metrics = train(job(tmp_path / "student", recipe, data=wrong, distillation=taught, seed=5))
    assert metrics["top1"] > 75
    assert train(job(tmp_path / "alone", recipe, data=wrong, seed=5))["top1"] < 40


def test_a_teacher_gets_images_as_it_learned_them() -> None:
    own = Checkpoint(
        arch=SMALL,
        weights=build(SMALL).state_dict(),
        classes=tuple("abcd"),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    pixels = torch.rand(4, 3, 16, 16)
    mean, std = torch.tensor([0.5, 0.6, 0.7]), torch.tensor([0.2, 0.3, 0.4])
    mean, std = mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
    as_taught = (pixels - torch.tensor(own.mean).view(1, 3, 1, 1)) / torch.tensor(own.std).view(
        1, 3, 1, 1
    )
    path = Path("unused")
    with pytest.MonkeyPatch.context() as patched, torch.no_grad():
        patched.setattr(Checkpoint, "load", lambda _: own)
        teacher = trained_teacher(path, tuple("abcd"), mean, std).eval()
        torch.testing.assert_close(teacher((pixels - mean) / std), own.network()(as_taught))
        with pytest.raises(NasError, match="must know the 2 classes of the data, but knows 4"):
            trained_teacher(path, ("x", "y"), mean, std)


def test_the_average_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = Average(network, 0.5)
    expected = 1.0
    for n_updates in range(20):
        network.weight.data.fill_(n_updates)
        average.update(n_updates)
        kept = min(0.5, (1 + n_updates) / (10 + n_updates))
        expected = kept * expected + (1 - kept) * n_updates
        assert float(floats_of(average.network)[0]) == pytest.approx(expected)
    assert kept == 0.5


def test_the_average_is_what_is_judged_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[list[Tensor]] = []
    update = Average.update

    def noting(self: Average, n_updates: int) -> None:
        followed.append([one.clone() for one in self._followed])
        update(self, n_updates)

    monkeypatch.setattr(Average, "update", noting)
    recipe = replace(RECIPE, epochs=1, ema=0.3)
    train(job(tmp_path, recipe))
    assert len(followed) == 4
    first = job(tmp_path, recipe).make_network()
    names = [name for name, one in first.state_dict().items() if one.is_floating_point()]
    mean = floats_of(first)
    for number, now in enumerate(followed):
        kept = min(0.3, (1 + number) / (10 + number))
        mean = [kept * one + (1 - kept) * other for one, other in zip(mean, now, strict=True)]
    saved = weights(tmp_path)
    for name, one in zip(names, mean, strict=True):
        torch.testing.assert_close(saved[name], one)
    raw = weights(tmp_path, "state.safetensors")
    name = "layers.0.conv.weight"
    assert not torch.allclose(raw[f"weights.{name}"], saved[name])


@pytest.mark.parametrize("n_accumulated", [2, 4])
def test_accumulated_parts_are_the_whole_batch(tmp_path: Path, n_accumulated: int) -> None:
    place = Place(device="cpu", n_accumulated=n_accumulated)
    parts = train_flat(tmp_path / "parts", place=place)
    whole = train_flat(tmp_path / "whole")
    assert_close(parts, whole)
    assert distance(whole, dict(flat().state_dict())) > 0.01  # it moved at all


def test_a_clipped_step_is_as_long_as_it_may_be(tmp_path: Path) -> None:
    one_step = replace(PLAIN, n_images=64)
    before = dict(flat().state_dict())
    free = distance(train_flat(tmp_path / "free", one_step), before)
    norm = free / one_step.learning_rate
    clipped = train_flat(tmp_path / "clipped", replace(one_step, clip_norm=norm / 3))
    assert distance(clipped, before) == pytest.approx(free / 3, rel=1e-4)
    loose = train_flat(tmp_path / "loose", replace(one_step, clip_norm=norm * 3))
    assert distance(loose, before) == pytest.approx(free, rel=1e-6)


def test_products_are_short_floats_where_asked(tmp_path: Path) -> None:
    seen = set()

    def watched() -> nn.Module:
        network = flat()
        network.get_submodule("classifier").register_forward_hook(
            lambda module, given, out: seen.add((module.weight.dtype, out.dtype))
        )
        return network

    place = Place(device="cpu", precision="bf16")
    train(job(tmp_path / "short", PLAIN, arch=None, make_network=watched, place=place))
    assert (torch.float32, torch.bfloat16) in seen
    short, full = weights(tmp_path / "short"), train_flat(tmp_path / "full")
    moved = distance(full, dict(flat().state_dict()))
    assert 0 < distance(short, full) < 0.1 * moved


def test_a_start_with_other_classes_keeps_all_but_the_classifier() -> None:
    start = Checkpoint(
        arch=SMALL.with_num_classes(7),
        weights=build(SMALL.with_num_classes(7)).state_dict(),
        classes=tuple("abcdefg"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    network = build(SMALL)
    fresh = {name: one.clone() for name, one in network.state_dict().items()}
    said = start_from(network, SMALL, start, tuple("wxyz"))
    assert "its 7 classes are not the 4 here, so the classifier begins anew" in said
    for name, one in network.state_dict().items():
        expected = fresh if "classifier" in name else start.weights
        assert torch.equal(one, expected[name]), name


def test_a_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    recipe = replace(PLAIN, epochs=5, batch_size=16, momentum=0.9)
    train(job(tmp_path / "first", recipe))
    start = tmp_path / "first" / "best.safetensors"
    still = replace(PLAIN, learning_rate=1e-8, norm_momentum=0.0001)
    metrics = train(job(tmp_path / "second", still, start=start, seed=9))
    trained = Checkpoint.load(start)
    for name, one in Checkpoint.load(tmp_path / "second" / "last.safetensors").weights.items():
        if one.is_floating_point() and "running" not in name:
            torch.testing.assert_close(one, trained.weights[name], rtol=0, atol=1e-6)
    assert metrics["top1"] > 70
    # The network of a state is not taken from the start again.
    train_until(job(tmp_path / "third", replace(RECIPE, epochs=2), start=start), 5)
    start.unlink()
    train(job(tmp_path / "third", replace(RECIPE, epochs=2), start=start))


def test_a_start_of_another_network_is_named() -> None:
    other = replace(SMALL, name="other", layers=(*SMALL.layers[:1], *SMALL.layers[2:]))
    start = Checkpoint(
        arch=other,
        weights=build(other).state_dict(),
        classes=tuple("abcd"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    with pytest.raises(NasError, match="must be of the network small, but is of other: layer `mb"):
        start_from(build(SMALL), SMALL, start, tuple("abcd"))


def test_networks_that_answer_otherwise_are_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"network small must give 4 logits.*but gives \(7,\)"):
        train(job(tmp_path, PLAIN, arch=None, make_network=too_many))
    taught = Distillation(teacher=too_many)
    with pytest.raises(NasError, match=r"the teacher must give 4 logits"):
        train(job(tmp_path, PLAIN, arch=None, make_network=flat, distillation=taught))
    with pytest.raises(NasError, match=r"network small must take images of shape \(5, 16, 16\)"):
        train(
            job(
                tmp_path,
                PLAIN,
                arch=None,
                make_network=lambda: nn.Sequential(nn.Conv2d(5, 2, 3), nn.Linear(3, 3)),
            )
        )


def test_guesses_by_hand() -> None:
    logits = torch.tensor([[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    assert right_guesses(logits, torch.tensor([0, 1, 5])).tolist() == [1, 2]
