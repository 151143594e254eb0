"""Training-free scores against numpy, finite differences and counts by hand."""

from collections.abc import Iterator
from itertools import combinations
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params
from nas.data.images import ImageData, Images
from nas.errors import NasError
from nas.network.blocks import MBConv
from nas.network.build import build
from nas.proxies.accuracy_data import read_bench
from nas.proxies.zero_cost import SCORES, Scorer, log_score, score
from nas.proxies.zero_cost.codes import activation_codes, naswot, swap
from nas.proxies.zero_cost.gradients import Gradients
from nas.proxies.zero_cost.probe import Batch, Probe, draw, fresh_network
from nas.proxies.zero_cost.scorer import LOGARITHMS, ScoreError
from nas.proxies.zero_cost.synflow import synflow
from nas.proxies.zero_cost.zen import STEP, zen, zen_of

PROBE = Probe(size=16, batch_size=4, n_batches=3, n_code_images=6, seed=1)


def arch_of(*lines: str) -> Arch:
    return Arch(name="tiny", layers=tuple(map(Layer.parse, lines)))


def tiny_arch(act: str = "hs", se: str = "se4 ") -> Arch:
    return arch_of(
        f"conv k3 3>8 s2 {act} @16",
        f"mb k3 8>16>8 s1 {se}{act} @8",
        f"mb k3 8>16>12 s2 {act} @8",
        "head 12>5 @4",
    )


def images_of(n: int, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def batches_of(n_batches: int, *shape: int, n_classes: int) -> list[Batch]:
    return [
        Batch(images=images_of(4, *shape, seed=seed), labels=torch.arange(4) % n_classes)
        for seed in range(n_batches)
    ]


@pytest.fixture
def small() -> nn.Module:
    """Return a convolution, batch-norm, activation and classifier in double precision."""
    torch.manual_seed(3)
    parts = (nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(12, 4)).to(torch.float64)


# Gradients


def test_gradients_of_a_linear_map_have_the_closed_form() -> None:
    linear = nn.Linear(3, 4, dtype=torch.float64)
    (batch,) = batches_of(1, 3, n_classes=4)
    x, w, b = (each.detach().numpy() for each in (batch.images, linear.weight, linear.bias))
    odds = np.exp(x @ w.T + b)
    wrong = odds / odds.sum(axis=1, keepdims=True) - np.eye(4)[batch.labels.numpy()]
    gradient = wrong.T @ x / len(x)
    found = Gradients.of(linear, [batch])
    assert found.grad_norm() == pytest.approx(np.sqrt((gradient**2).sum()))
    assert found.snip() == pytest.approx(np.abs(w * gradient).sum())


def losses_nearby(network: nn.Module, weight: Tensor, batch: Batch) -> Iterator[float]:
    """Yield the slope of the loss by each weight, by central differences."""
    flat, step = weight.data.view(-1), 1e-5
    for index in range(len(flat)):
        before = float(flat[index])
        losses = []
        for moved in (before + step, before - step):
            flat[index] = moved
            with torch.no_grad():
                logits = network(batch.images)
            losses.append(float(functional.cross_entropy(logits, batch.labels)))
        flat[index] = before
        yield (losses[0] - losses[1]) / (2 * step)


def test_snip_and_grad_norm_agree_with_finite_differences(small: nn.Sequential) -> None:
    (batch,) = batches_of(1, 2, 4, 4, n_classes=4)
    found = Gradients.of(small, [batch])
    norm = total = 0.0
    for layer in (small[0], small[4]):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        slopes = np.array(list(losses_nearby(small, weight, batch)))
        norm += np.sqrt((slopes**2).sum())
        total += np.abs(slopes * weight.detach().numpy().ravel()).sum()
    assert found.grad_norm() == pytest.approx(norm, rel=1e-6)
    assert found.snip() == pytest.approx(total, rel=1e-6)


def test_zico_agrees_with_numpy_on_the_gradients_of_each_batch(small: nn.Sequential) -> None:
    batches = batches_of(3, 2, 4, 4, n_classes=4)
    found = Gradients.of(small, batches).zico()
    by_layer: dict[int, list[np.ndarray]] = {0: [], 4: []}
    for batch in batches:
        small.zero_grad()
        torch.autograd.backward(functional.cross_entropy(small(batch.images), batch.labels))
        for number, gradients in by_layer.items():
            gradient = small[number].weight.grad
            assert isinstance(gradient, Tensor)
            gradients.append(gradient.numpy().copy())
    expected = 0.0
    for gradients in by_layer.values():
        stack = np.array(gradients)
        expected += np.log((np.abs(stack).mean(axis=0) / stack.std(axis=0)).sum())
    assert found == pytest.approx(expected)


def test_zico_leaves_out_weights_whose_gradient_never_varies() -> None:
    network = nn.Linear(2, 3, dtype=torch.float64)
    batches = batches_of(2, 2, n_classes=3)
    for batch in batches:
        batch.images[:, 0] = 0  # so no weight of the first input has a gradient
    found = Gradients.of(network, batches)
    stack = np.array([gradient[0].numpy()[:, 1] for gradient in found.by_batch])
    ratios = np.abs(stack).mean(axis=0) / stack.std(axis=0)
    assert found.zico() == pytest.approx(np.log(ratios.sum()))
    assert Gradients.of(network, [batches[0]] * 2).zico() == 0.0


# Synflow


def test_synflow_of_a_chain_counts_every_path_once_a_layer() -> None:
    chain = nn.Sequential(
        nn.Flatten(),
        nn.Linear(12, 5, bias=False),
        nn.ReLU6(),
        nn.Linear(5, 4, bias=False),
        nn.Hardswish(),
        nn.Linear(4, 2, bias=False),
    )
    paths = np.ones(12)
    for number in (1, 3, 5):
        weight = chain[number].weight
        assert isinstance(weight, Tensor)
        paths = np.abs(weight.detach().numpy().astype(np.float64)) @ paths
    assert synflow(chain, 3, 2) == pytest.approx(3 * paths.sum())


@pytest.mark.parametrize("act", ["re", "r6", "hs"])
def test_synflow_of_a_plain_network_is_its_response_times_its_layers(act: str) -> None:
    arch = arch_of(f"conv k3 3>8 s2 {act} @16", f"mb k3 8>16>12 s2 {act} @8", "head 12>5 @4")
    network = build(arch, dropout=0)
    weights = [part.weight for part in network.modules() if isinstance(part, nn.Conv2d)]
    stem, expand, depthwise, project = (w.detach().double().abs() for w in weights)
    signal = functional.conv2d(torch.ones(1, 3, 16, 16).double(), stem, stride=2, padding=1)
    signal = functional.conv2d(signal, expand)
    signal = functional.conv2d(signal, depthwise, stride=2, padding=1, groups=16)
    pooled = functional.conv2d(signal, project).mean(dim=(2, 3))
    classifier = network.get_parameter("layers.2.classifier.weight")
    response = float((pooled @ classifier.detach().double().abs().T).sum())
    assert synflow(network, 3, 16) == pytest.approx(5 * response)


def test_synflow_sees_a_gate_that_is_wide_open_as_no_gate() -> None:
    torch.manual_seed(0)
    gated = MBConv(Layer.parse("mb k3 4>8>6 s1 se2 re @8"))
    plain = MBConv(Layer.parse("mb k3 4>8>6 s1 re @8"))
    plain.load_state_dict(gated.state_dict(), strict=False)
    for module in (gated, plain):
        for parameter in module.parameters():
            parameter.data *= 20
    assert synflow(gated, 4, 8) == pytest.approx(synflow(plain, 4, 8))


# Activation codes


def codes_of(n_images: int, n_units: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n_images, n_units)) < 0.5


def test_naswot_is_the_log_determinant_of_agreeing_units() -> None:
    codes = codes_of(5, 40)
    kernel = np.full((5, 5), 40.0)
    for i, j in combinations(range(5), 2):
        hamming = sum(bool(a) != bool(b) for a, b in zip(codes[i], codes[j], strict=True))
        kernel[i, j] = kernel[j, i] = 40 - hamming
    assert naswot(codes) == pytest.approx(np.log(np.linalg.det(kernel)), rel=1e-6)
    assert naswot(codes[[0, 0, 1]]) == -np.inf


@pytest.mark.parametrize("n_images", [2, 3, 8, 9, 33, 64])
def test_swap_counts_different_patterns(n_images: int) -> None:
    codes = codes_of(n_images, 200)
    codes[:, 150:] = codes[:, :50]
    patterns = {tuple(codes[:, unit].tolist()) for unit in range(200)}
    assert swap(codes) == len(patterns)


@pytest.mark.parametrize("act", ["re", "r6", "hs"])
def test_codes_are_the_signs_before_every_activation_outside_of_gates(act: str) -> None:
    network = build(tiny_arch(act), dropout=0).double().train()
    images = images_of(4, 3, 16, 16)

    def run(name: str, x: Tensor) -> Tensor:
        y: Tensor = network.get_submodule(f"layers.{name}")(x)
        return y

    with torch.no_grad():
        signs = [run("0.norm", run("0.conv", images))]
        here = run("0", images)
        for block in ("1", "2"):
            expanded = run(f"{block}.body.expand.norm", run(f"{block}.body.expand.conv", here))
            active = run(f"{block}.body.expand.act", expanded.clone())
            depthwise = run(f"{block}.body.depthwise.conv", active)
            signs += [expanded, run(f"{block}.body.depthwise.norm", depthwise)]
            here = run(block, here)
    expected = torch.cat([(each > 0).flatten(1) for each in signs], dim=1).numpy()
    found = activation_codes(network, images)
    assert found.shape == (4, 8 * 64 + 16 * 64 * 2 + 16 * 64 + 16 * 16)
    np.testing.assert_array_equal(found, expected)


def test_a_network_without_activations_has_no_codes() -> None:
    with pytest.raises(NasError, match="need a network with activations"):
        activation_codes(nn.Linear(2, 2), torch.ones(2, 2))


# Zen


def test_zen_agrees_with_numpy() -> None:
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(2, 3, 1, bias=False),
        nn.BatchNorm2d(3, eps=1e-3),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 1, bias=False),
        nn.BatchNorm2d(4, eps=1e-3),
    ).double()
    x, change = images_of(5, 2, 3, 3), images_of(5, 2, 3, 3, seed=1)
    stds: list[float] = []

    def run(images: np.ndarray, is_kept: bool) -> np.ndarray:
        for number in (0, 3):
            weight = features[number].weight
            assert isinstance(weight, Tensor)
            images = np.einsum("oi,nihw->nohw", weight.detach().numpy()[:, :, 0, 0], images)
            variance = images.var(axis=(0, 2, 3))
            if is_kept:
                stds.append(np.sqrt(variance.mean()))
            mean = images.mean(axis=(0, 2, 3))[:, None, None]
            images = (images - mean) / np.sqrt(variance + 1e-3)[:, None, None]
            images = np.maximum(images, 0) if number == 0 else images
        return images

    here = run(x.numpy(), True)
    there = run(x.numpy() + STEP * change.numpy(), False)
    distance = np.mean([np.linalg.norm(each) for each in there - here])
    assert zen(features, x, change) == pytest.approx(np.log(distance) + np.log(stds).sum())


def test_zen_grows_by_the_log_of_a_factor_on_the_weights() -> None:
    features = build(tiny_arch("re", ""), dropout=0).layers[:-1].double()
    for part in features.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-12
    x, change = images_of(4, 3, 16, 16), images_of(4, 3, 16, 16, seed=1)
    before = zen(features, x, change)
    features.get_parameter("0.conv.weight").data *= 7
    assert zen(features, x, change) == pytest.approx(before + log(7))


def test_zen_sees_neither_gates_nor_shortcuts_nor_the_head() -> None:
    plain = arch_of(
        "conv k3 3>8 s2 hs @16",
        "mb k3 8>16>8 s1 hs nores @8",
        "mb k3 8>16>12 s2 hs @8",
        "head 12>7 @4",
    )
    assert zen_of(tiny_arch(), PROBE) == zen_of(plain, PROBE)


# The probe


def data_of(channels: int, n: int = 40, classes: int = 3) -> ImageData:
    pixels = torch.randint(256, (n, channels, 8, 8), generator=torch.Generator().manual_seed(0))
    images = Images(pixels=pixels.to(torch.uint8), labels=torch.arange(n) % classes)
    return ImageData(
        name="made",
        digest="0",
        classes=tuple("abcdefgh"[:classes]),
        train=images,
        validation=images[:4],
    )


def test_grey_images_of_the_training_part_are_normalised_and_repeated() -> None:
    data = data_of(1)
    found = draw(Probe(size=8), data, 40, channels=3, n_classes=3)
    assert found.images.shape == (40, 3, 8, 8)
    assert torch.equal(found.images[:, 0], found.images[:, 2])
    assert float(found.images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(found.images.std()) == pytest.approx(1, rel=1e-3)
    pixels = data.train.pixels.flatten(1).to(torch.float32)
    rows = torch.cdist(found.images[:, 0].flatten(1) * pixels.std() + pixels.mean(), pixels).min(1)
    assert float(rows.values.max()) < 1
    assert torch.equal(found.labels, data.train.labels[rows.indices])


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NasError, match=r"must have the 3 channels .* but have 2"):
        draw(PROBE, data_of(2), 4, channels=3, n_classes=3)
    with pytest.raises(NasError, match=r"must hold the 64 images .* but has 40"):
        draw(PROBE, data_of(3), 64, channels=3, n_classes=3)


def test_noise_repeats_none_of_the_weights() -> None:
    probe = Probe(seed=5)
    images = draw(probe, None, 8, channels=3, n_classes=10).images.flatten()
    drawn = torch.randn(64, generator=torch.Generator().manual_seed(5))
    assert not torch.isin(drawn, images).any()


def test_weights_are_those_of_build_under_the_seed() -> None:
    found = fresh_network(tiny_arch(), PROBE).state_dict()
    torch.manual_seed(PROBE.seed)
    for name, value in build(tiny_arch()).state_dict().items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("option", ["size", "batch_size", "n_batches", "n_code_images", "seed"])
def test_a_probe_out_of_bounds_is_refused(option: str) -> None:
    wrong: dict[str, Any] = {option: -1}
    with pytest.raises(NasError, match=f"{option} of a probe must be an integer from"):
        Probe(**wrong)


# The scorer


def test_scores_of_one_network_are_the_same_together_and_alone() -> None:
    together = Scorer(probe=PROBE).scores(SCORES, tiny_arch())
    assert {name: score(name, tiny_arch(), probe=PROBE) for name in SCORES} == together
    assert together["macs"] == count_macs(tiny_arch())
    assert together["params"] == count_params(tiny_arch())


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("macs", "params")])
def test_scores_depend_on_the_seed(name: str) -> None:
    values = {score(name, tiny_arch(), probe=Probe(size=16, seed=seed)) for seed in range(3)}
    # Of so few units nearly all may show patterns of their own.
    assert len(values) > 1 or name == "swap"


def test_gradient_scores_look_at_the_data_and_its_classes() -> None:
    names = ("snip", "grad_norm", "zico", "naswot")
    noise = Scorer(probe=PROBE).scores(names, tiny_arch())
    images = Scorer(probe=PROBE, data=data_of(3)).scores(names, tiny_arch())
    assert all(noise[name] != images[name] for name in names)
    probe, data = Probe(size=8, batch_size=40, n_batches=2), data_of(3, 80)
    whole = draw(probe, data, 80, channels=3, n_classes=3)
    network = fresh_network(tiny_arch().with_num_classes(3), probe)
    first = Batch(images=whole.images[:40], labels=whole.labels[:40])
    expected = Gradients.of(network, [first]).snip()
    assert Scorer(probe=probe, data=data).scores(["snip"], tiny_arch())["snip"] == expected


def test_a_network_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counting(arch: Arch, probe: Probe) -> nn.Module:
        built.append(arch)
        return fresh_network(arch, probe)

    monkeypatch.setattr("nas.proxies.zero_cost.scorer.fresh_network", counting)
    scorer = Scorer(probe=PROBE)
    first = scorer.scores(["snip", "naswot"], tiny_arch())
    renamed = Arch(name="other", layers=tiny_arch().layers)
    assert scorer.scores(["naswot", "snip"], renamed) == first
    assert len(built) == 1


def test_the_caller_sees_no_change(small: nn.Sequential) -> None:
    (batch,) = batches_of(1, 2, 4, 4, n_classes=4)
    small.eval()
    before = {name: value.clone() for name, value in small.state_dict().items()}
    Gradients.of(small, [batch])
    activation_codes(small, batch.images)
    zen(small[:3], batch.images, batch.images)
    synflow(small, 2, 4)
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert not any(part.training or part._forward_pre_hooks for part in small.modules())
    assert all(part.grad is None for part in small.parameters())

    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    plain = Scorer(probe=PROBE).scores(SCORES, tiny_arch())
    assert torch.equal(torch.rand(3), expected)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    with torch.no_grad():
        assert Scorer(probe=PROBE).scores(SCORES, tiny_arch()) == plain
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert Scorer(probe=PROBE).scores(SCORES, tiny_arch()) == plain


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(NasError, match=r"unknown score 'snipp'\. Did you mean snip"):
        score("snipp", tiny_arch())


def test_a_score_that_is_no_number_is_said() -> None:
    data = data_of(3)
    data.train.pixels[:] = data.train.pixels[:1].clone()
    data.train.pixels[:20] += 1
    scorer = Scorer(probe=PROBE, data=data)
    with pytest.raises(ScoreError, match=r"naswot of tiny .* finite number, but is -inf at seed 1"):
        scorer.scores(["naswot"], tiny_arch())
    assert scorer.scores(["params"], tiny_arch())["params"] > 0


def test_an_overflow_of_synflow_is_said() -> None:
    convolution = Layer.parse("conv k3 16>16 s1 re @8")
    ends = (Layer.parse("conv k3 3>16 s1 re @8"), Layer.parse("head 16>5 @8"))
    deep = Arch(name="deep", layers=(ends[0], *[convolution] * 300, ends[1]))
    with pytest.raises(ScoreError, match=r"synflow of deep .* must be a finite number above 0"):
        score("synflow", deep, probe=Probe(size=8))


def test_logarithms_stay_as_they_are() -> None:
    found = Scorer(probe=PROBE).scores(SCORES, tiny_arch())
    for name, value in found.items():
        expected = value if name in LOGARITHMS else np.log(value)
        assert log_score(name, value) == pytest.approx(expected)


BENCH = Path(__file__).parents[2] / "shared" / "data" / "mnasnet_space_imagenet_accuracy.csv"


@pytest.mark.slow
@pytest.mark.skipif(not BENCH.is_file(), reason="the accuracies are not here")
def test_params_times_snip_ranks_imagenet_networks() -> None:
    samples = read_bench(BENCH)[:25]
    scorer = Scorer()
    found = [scorer.scores(["params", "snip"], sample.arch) for sample in samples]
    products = [one["params"] * one["snip"] for one in found]
    tau = kendalltau(products, [sample.top1 for sample in samples]).statistic
    assert tau > 0.55
