"""The training loop, against a plain one; its batches, its budget, and what stops it."""

import subprocess
import sys
import time
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training_data import SMALL, patterns

from nas.data.augment import shift_and_mirror
from nas.data.images import Images
from nas.errors import NasError
from nas.network.build import build
from nas.training.batches import Batches, device_named, input_channels, suited
from nas.training.conditions import DivergedError, TrainingError, memory_errors
from nas.training.fit import N_GLANCE, Budget, accuracy, train, train_arch
from nas.training.optimizers import WARM_UP, make_optimizer, one_cycle
from nas.training.recipe import Recipe

CPU = torch.device("cpu")
QUICK = Recipe(epochs=3, batch_size=16, learning_rate=0.05, augment=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(SMALL, dropout=0.0)


def all_weights(network: nn.Module) -> Tensor:
    return torch.cat([value.double().flatten() for value in network.state_dict().values()])


def test_batches_hold_each_image_once_normalised() -> None:
    data = patterns(n_train=48)
    batches = Batches.of(data, QUICK, device=CPU)
    mean, std = data.mean_and_std()
    by_label = list[tuple[int, Tensor]]()
    for images, labels in batches.one_pass(generator()):
        assert images.shape == (16, 3, 16, 16) and images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        by_label += zip(labels.tolist(), images, strict=True)
    wanted = (data.train.pixels / 255 - mean[:, None, None]) / std[:, None, None]
    found = torch.stack([image for _, image in by_label])
    distances = (found[:, None] - wanted[None]).flatten(2).abs().amax(dim=2)
    nearest = distances.argmin(dim=1)
    assert sorted(nearest.tolist()) == list(range(48))
    assert distances.min(dim=1).values.max() < 1e-3
    assert [label for label, _ in by_label] == data.train.labels[nearest].tolist()


def test_passes_differ_and_follow_from_the_seed() -> None:
    batches = Batches.of(patterns(), replace(QUICK, augment=True), device=CPU)

    def two_passes(seed: int) -> list[Tensor]:
        source = generator(seed)
        return [torch.cat([images for images, _ in batches.one_pass(source)]) for _ in range(2)]

    first, second = two_passes(0)
    assert not torch.equal(first, second)
    assert torch.equal(second, two_passes(0)[1])
    assert not torch.equal(first, two_passes(1)[0])


@pytest.mark.parametrize("flip", [True, False])
def test_images_are_shifted_by_an_eighth_and_mirrored_if_allowed(flip: bool) -> None:
    data = patterns(n_train=16)
    recipe = replace(QUICK, augment=True, flip=flip)
    (images, _), *_ = Batches.of(data, recipe, device=CPU).one_pass(generator(3))
    draws = generator(3)
    pixels = data.train.pixels[torch.randperm(16, generator=draws)]
    wanted = shift_and_mirror(pixels, draws, padding=2, flip=flip)
    mean, std = data.mean_and_std()
    torch.testing.assert_close(
        images, (wanted / 255 - mean[:, None, None]) / std[:, None, None], atol=1e-5, rtol=1e-5
    )


def test_what_is_left_over_waits_for_another_pass() -> None:
    batches = Batches.of(patterns(n_train=40), QUICK, device=CPU)
    assert [len(labels) for _, labels in batches.one_pass(generator())] == [16, 16]
    assert batches.n_steps == 2
    few = Batches.of(patterns(n_train=5), QUICK, device=CPU)
    assert [len(labels) for _, labels in few.one_pass(generator())] == [5]


def test_grey_images_are_repeated_to_the_channels_of_the_network() -> None:
    batches = Batches.of(patterns(n_channels=1), QUICK, device=CPU, n_channels=3)
    (images, _), *_ = batches.one_pass(generator())
    assert images.shape[1] == 3
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2])
    with pytest.raises(NasError, match=r"takes 1 channels cannot learn from patterns.*have 3"):
        Batches.of(patterns(), QUICK, device=CPU, n_channels=1)


def test_the_channels_are_those_of_the_first_convolution() -> None:
    assert input_channels(small_network()) == 3
    assert input_channels(nn.Sequential(nn.Conv2d(7, 2, 1), nn.Conv2d(2, 1, 1))) == 7
    assert input_channels(nn.Linear(2, 2)) == 3


def test_suited_data_are_fewer_and_smaller_once_and_for_all() -> None:
    data = patterns(n_train=64)
    recipe = replace(QUICK, n_images=20, resolution=8)
    once = suited(data, recipe)
    assert once.train.pixels.shape == (20, 3, 8, 8)
    assert once.validation.pixels.shape[2:] == (8, 8)
    assert torch.equal(once.train.labels, suited(data, recipe).train.labels)
    assert suited(once, recipe) is once
    assert suited(data, QUICK) is data
    assert len(torch.unique(once.train.labels)) > 1


def test_images_are_enlarged_batch_by_batch() -> None:
    recipe = replace(QUICK, resolution=24)
    data = patterns()
    assert suited(data, recipe) is data
    batches = Batches.of(data, recipe, device=CPU)
    (images, _), *_ = batches.one_pass(generator())
    assert images.shape[2:] == (24, 24)
    (images, _), *_ = batches.validation_batches()
    assert images.shape[2:] == (24, 24)


def test_a_glance_is_spread_over_the_validation_images() -> None:
    data = patterns(n_validation=100)
    images = data.validation
    order = images.labels.argsort()
    data = replace(
        data, validation=Images(pixels=images.pixels[order], labels=images.labels[order])
    )
    batches = Batches.of(data, QUICK, device=CPU)
    labels = torch.cat([labels for _, labels in batches.validation_batches(20, batch_size=7)])
    assert len(labels) == 20 and set(labels.tolist()) == {0, 1, 2, 3}
    assert sum(len(labels) for _, labels in batches.validation_batches(batch_size=7)) == 100


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step / 100) for step in range(101)]
    peak = round(100 * WARM_UP)
    assert rates[peak] == 1 and rates[100] == pytest.approx(0, abs=1e-12) and rates[0] > 0
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_weights_of_several_dimensions_decay(optimizer: str) -> None:
    network = small_network()
    made = make_optimizer(network, replace(QUICK, optimizer=optimizer, weight_decay=0.3))
    decay = {
        id(one): group["weight_decay"] for group in made.param_groups for one in group["params"]
    }
    kinds = (nn.Conv2d, nn.Linear)
    weights = {id(part.weight) for part in network.modules() if isinstance(part, kinds)}
    assert len(decay) == len(list(network.parameters()))
    assert {one for one, value in decay.items() if value == 0.3} == weights


def test_the_loop_equals_a_plain_one() -> None:
    data = patterns(n_train=64)
    recipe = replace(QUICK, label_smoothing=0.1, weight_decay=0.01)
    network, plain = small_network(), small_network()
    training = train(network, data, recipe, seed=5)

    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1
    mean, std = data.mean_and_std()
    images = (data.train.pixels / 255 - mean[:, None, None]) / std[:, None, None]
    groups: list[dict[str, Any]] = [
        {"params": [one for one in plain.parameters() if one.ndim > 1], "weight_decay": 0.01},
        {"params": [one for one in plain.parameters() if one.ndim == 1]},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=1.0,
        momentum=0.9,
        nesterov=True,
    )
    draws, step, plain.training = generator(5), 0, True
    for _ in range(3):
        for rows in torch.randperm(64, generator=draws).view(-1, 16):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * one_cycle(step / 12)
            optimizer.zero_grad()
            logits = plain(images[rows])
            loss = functional.cross_entropy(logits, data.train.labels[rows], label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    torch.testing.assert_close(all_weights(network), all_weights(plain), atol=2e-4, rtol=1e-3)
    plain.eval()
    held_out = (data.validation.pixels / 255 - mean[:, None, None]) / std[:, None, None]
    right = plain(held_out).argmax(dim=1) == data.validation.labels
    assert training.top1 == pytest.approx(100 * right.double().mean().item(), abs=2)


def test_a_training_learns_and_follows_from_its_seed_to_the_last_bit() -> None:
    data, recipe = patterns(), replace(QUICK, epochs=6, augment=True, flip=False, dropout=0.1)
    first, again, other = (train_arch(SMALL, data, recipe, seed=seed) for seed in (1, 1, 2))
    assert first.top1 > 80  # of 4 classes
    assert first.history == again.history != other.history
    assert first.is_whole and len(first.history) == 6 and first.top1 == first.history[-1]
    networks = [small_network(), small_network()]
    for network in networks:
        train(network, data, recipe, seed=1)
    assert torch.equal(*map(all_weights, networks))


def test_nothing_outside_of_a_training_changes() -> None:
    network = small_network()
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        seen = set[int]()

        def goes_on(epoch: int, top1: float) -> bool:
            seen.add(torch.get_num_threads())
            return False

        train(network, patterns(), QUICK, seed=0, on_epoch=goes_on)
        assert seen == {1}
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.rand(3), wanted)
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms and {norm.momentum for norm in norms} == {0.01}


def test_the_network_is_the_recipes() -> None:
    recipe = replace(QUICK, epochs=1, width=2.0, resolution=8)
    with pytest.raises(NasError, match="epochs"):
        replace(recipe, epochs=0)
    scaled = recipe.network(SMALL, 4, 16)
    assert scaled.resolution == 8
    assert scaled.layers[0].out_channels == 2 * SMALL.layers[0].out_channels
    assert train_arch(SMALL.with_num_classes(9), patterns(), recipe, seed=0).is_whole


def test_a_callback_stops_a_training() -> None:
    told = list[tuple[int, float]]()

    def stops_after_two(epoch: int, top1: float) -> bool:
        told.append((epoch, top1))
        return epoch == 2

    stopped = train_arch(SMALL, patterns(), QUICK, seed=0, on_epoch=stops_after_two)
    assert not stopped.is_whole
    assert [epoch for epoch, _ in told] == [1, 2]
    assert tuple(top1 for _, top1 in told) == stopped.history
    whole = train_arch(SMALL, patterns(), QUICK, seed=0, on_epoch=lambda epoch, top1: epoch == 3)
    assert whole.is_whole and whole.history[:2] == stopped.history


def test_only_the_end_is_judged_by_all_images() -> None:
    data = patterns(n_validation=N_GLANCE + 300)
    batches = Batches.of(data, QUICK, device=CPU)
    network = small_network()
    training = train(network, data, QUICK, seed=0)
    assert training.top1 == accuracy(network, batches)
    assert training.top1 * len(data.validation) / 100 == pytest.approx(
        round(training.top1 * len(data.validation) / 100)
    )
    n_seen = -(-len(data.validation) // 2)
    for top1 in training.history[:-1]:
        assert top1 * n_seen / 100 == pytest.approx(round(top1 * n_seen / 100))


def test_a_limit_of_seconds_ends_a_training() -> None:
    recipe = replace(QUICK, epochs=10_000, seconds=0.3)
    began = time.perf_counter()
    training = train_arch(SMALL, patterns(), recipe, seed=0)
    assert training.is_whole and 1 <= len(training.history) < 10_000
    assert 0.3 <= training.seconds <= time.perf_counter() - began


def test_a_budget_is_spent_by_steps_or_by_seconds() -> None:
    assert Budget(n_steps=8, seconds=None, n_done=2).progress == 0.25
    late = Budget(n_steps=8, seconds=100, n_done=2, started=time.perf_counter() - 50)
    assert 0.5 <= late.progress < 0.6 and not late.is_spent
    assert replace(late, n_done=6).progress == 0.75
    assert replace(late, n_done=8).is_spent
    assert replace(late, started=time.perf_counter() - 101).is_spent


def test_a_loss_that_is_no_number_is_named() -> None:
    network = small_network()
    with torch.no_grad():
        next(network.parameters()).fill_(torch.inf)
    with pytest.raises(DivergedError, match=r"was nan in epoch 1 of 3. Lower recipe.learning_rate"):
        train(network, patterns(), QUICK, seed=0)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_a_lack_of_memory_is_told_from_other_errors(error: Exception) -> None:
    expected = pytest.raises(TrainingError, match=r"memory ran out.*Lower recipe.batch_size")
    with expected, memory_errors():
        raise error
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(NasError, match=f"device '{name}' cannot be used.*Choose auto, cpu"):
        device_named(name)


def test_the_digest_of_a_recipe_is_that_of_all_its_fields() -> None:
    changed = {
        "n_images": 100,
        "seconds": 2.0,
        "resolution": 24,
        "optimizer": "adamw",
        "augment": False,
        "flip": False,
        "momentum": 0.5,
    }
    digests = {Recipe().digest()}
    for field in fields(Recipe):
        value = getattr(Recipe(), field.name) or 0
        options: dict[str, Any] = {field.name: changed.get(field.name, value * 2 or 0.5)}
        digests.add(replace(Recipe(), **options).digest())
    assert len(digests) == 1 + len(fields(Recipe))
    assert Recipe().digest() == Recipe().digest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1.5),
        ("batch_size", 1),
        ("batch_size", 2.5),
        ("n_images", True),
        ("learning_rate", float("nan")),
        ("learning_rate", "1e-3"),
        ("resolution", 4),
        ("augment", 1),
        ("optimizer", "adam"),
        ("epochs", None),
    ],
)
def test_a_value_that_no_recipe_has_is_named(name: str, value: object) -> None:
    with pytest.raises(NasError, match=name):
        replace(Recipe(), **{name: value})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone returns memory like this")
def test_freed_memory_is_kept_for_the_next_tensors() -> None:
    code = """
import resource, sys, torch
from nas.training.conditions import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for n in range(40):
    if n == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", code, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("kept", "returned")
    }
    assert faults["kept"] < faults["returned"] / 10
