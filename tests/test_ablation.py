"""Ablations: what each changes by hand, counts against hooks, prices, and wrong choices."""

from dataclasses import replace

import pytest
import torch
from test_cost import check_whole, simulated_peak

from nas.ablation import ABLATIONS, ablated, chosen_arch
from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params, peak_memory_bytes
from nas.errors import NasError
from nas.latency.cost_model import CostModel
from nas.latency.features import priced_ops
from nas.network.build import build
from nas.space import SearchSpace

V2, LARGE, A1 = map(Arch.load, ("mobilenet_v2", "mobilenet_v3_large", "mnasnet_a1"))


def lines(arch: Arch) -> list[str]:
    return [str(layer) for layer in arch.layers]


@pytest.mark.parametrize(
    ("arch", "name", "before", "after"),
    [
        (V2, "no_residual", "mb k3 24>144>24 s1 r6 @56", "mb k3 24>144>24 s1 r6 nores @56"),
        (V2, "nonlinear_bottleneck", "mb k3 32>32>16 s1 r6 @112", "{} nonlinear @112"),
        (LARGE, "no_se", "mb k5 40>120>40 s1 se32 re @28", "mb k5 40>120>40 s1 re @28"),
        (LARGE, "no_hswish", "mb k3 40>240>80 s2 hs @28", "mb k3 40>240>80 s2 re @28"),
        (LARGE, "no_hswish", "head 960>1280>1000 hs @7", "head 960>1280>1000 re @7"),
        (
            LARGE,
            "se_before_depthwise",
            "mb k5 40>120>40 s1 se32 re @28",
            "mb k5 40>120>40 s1 se32 seexp re @28",
        ),
        (
            LARGE,  # a quarter of the gated channels stays one
            "se_after_projection",
            "mb k5 112>672>160 s2 se168 hs @14",
            "mb k5 112>672>160 s2 se40 seproj hs @14",
        ),
        (
            A1,  # a quarter of the block's input stays one
            "se_after_projection",
            "mb k5 112>672>160 s2 se28 re @14",
            "mb k5 112>672>160 s2 se28 seproj re @14",
        ),
        (
            LARGE,
            "se_of_input",
            "mb k5 112>672>160 s2 se168 hs @14",
            "mb k5 112>672>160 s2 se28 hs @14",
        ),
        (
            A1,
            "se_of_expansion",
            "mb k5 112>672>160 s2 se28 re @14",
            "mb k5 112>672>160 s2 se168 re @14",
        ),
    ],
)
def test_changes_by_hand(arch: Arch, name: str, before: str, after: str) -> None:
    number = lines(arch).index(before)
    changed = ablated(arch, [name])
    assert lines(changed)[number] == after.format(before.rpartition(" ")[0])
    assert changed.name == f"{arch.name}_{name}"
    assert changed.key() != arch.key()


def test_the_squeeze_rules_are_those_of_the_papers() -> None:
    # With MnasNet's rule MobileNetV3 squeezes to what MnasNet-A1's own arch file has, and back.
    for layer in ablated(A1, ["se_of_expansion"]).layers:
        if layer.se:
            assert layer.se == {72: 24, 120: 32, 480: 120, 672: 168, 960: 240}[layer.mid_channels]
    back = ablated(ablated(A1, ["se_of_expansion"]), ["se_of_input"])
    assert back.layers == A1.layers


def test_residual_and_bottleneck_cost_nothing_to_count() -> None:
    changed = ablated(V2, ["nonlinear_bottleneck", "no_residual"])
    assert changed.name == "mobilenet_v2_no_residual_nonlinear_bottleneck"
    assert (count_macs(changed), count_params(changed)) == (count_macs(V2), count_params(V2))
    assert ablated(V2, ["no_residual", "nonlinear_bottleneck"]) == changed


@pytest.mark.slow
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablated_networks_count_as_built(name: str) -> None:
    base = A1 if name == "se_of_expansion" else LARGE
    arch = ablated(base.scaled(0.5, 97), [name])
    check_whole(arch)
    assert peak_memory_bytes(arch) == simulated_peak(arch)
    assert lines(arch) == [str(Layer.parse(line)) for line in lines(arch)]


@torch.no_grad()
def test_ablated_networks_compute_something_else() -> None:
    arch = SearchSpace.load("tiny").random(5)
    arch = replace(arch, layers=tuple(map(with_se, arch.layers)))
    images = torch.randn(2, 3, 32, 32)
    network = build(arch).eval()
    for name in ("no_residual", "nonlinear_bottleneck", "no_hswish", "se_before_depthwise"):
        other = build(ablated(arch, [name])).eval()
        other.load_state_dict(network.state_dict())
        assert not torch.allclose(other(images), network(images), rtol=1e-3, atol=0), name


def with_se(layer: Layer) -> Layer:
    act = "none" if layer.op == "head" else "hswish"
    if layer.op != "mbconv":
        return replace(layer, act=act)
    return replace(layer, act=act, se=8)


@pytest.mark.parametrize("name", ["pixel_cpu", "pixel4_cpu", "pixel6_cpu"])
def test_modelled_prices_follow_what_is_done(name: str) -> None:
    model = CostModel.load(name)

    def ms(arch: Arch) -> float:
        return float(model.predict_many_ms(arch.layers).sum())

    assert ms(ablated(LARGE, ["no_se"])) < ms(LARGE)
    assert ms(ablated(LARGE, ["no_hswish"])) < ms(LARGE)
    assert ms(ablated(LARGE, ["se_of_input"])) < ms(LARGE)
    # Fewer channels are gated after the projection; more pixels before a strided depthwise.
    assert ms(ablated(LARGE, ["no_se"])) < ms(ablated(LARGE, ["se_after_projection"])) < ms(LARGE)
    assert ms(LARGE) <= ms(ablated(LARGE, ["se_before_depthwise"])) < 1.2 * ms(LARGE)


@pytest.mark.parametrize("name", ["pixel_cpu", "pixel4_cpu", "pixel6_cpu"])
def test_a_moved_squeeze_costs_more_by_what_it_does_more(name: str) -> None:
    model = CostModel.load(name)
    for layer in (one for one in LARGE.layers if one.se):
        moved = replace(layer, se_at="expansion")
        more = model.predict_ms(moved) - model.predict_ms(layer)
        terms = model.terms_ms([priced_ops(moved), priced_ops(layer)])
        assert more == pytest.approx(terms[0] - terms[1], abs=1e-9)


def test_options_choose_a_network() -> None:
    assert chosen_arch("mobilenet_v2") == V2
    small = chosen_arch("mobilenet_v2", 0.5, 96, "no_residual")
    assert small == ablated(V2.scaled(0.5, 96), ["no_residual"])
    assert chosen_arch("mobilenet_v2", ablate=["no_residual"]).resolution == 224


def test_a_moved_squeeze_scales_by_its_rule() -> None:
    moved = ablated(LARGE, ["se_after_projection"])
    assert moved.scaled(0.5).layers == ablated(LARGE.scaled(0.5), ["se_after_projection"]).layers


@pytest.mark.parametrize(
    ("arch", "names", "message"),
    [
        (V2, ["no_residuals"], "unknown ablation 'no_residuals'. Did you mean no_residual?"),
        (V2, ["no_se"], "ablation no_se must change something, but mobilenet_v2 has nothing"),
        (LARGE, ["se_of_expansion"], "se_of_expansion must change something"),
        (LARGE, ["no_se", "se_after_projection"], "no_se and se_after_projection exclude"),
        (LARGE, ["no_se", "se_of_input"], "se_of_input must change something"),
        (V2, ["no_residual", "no_residual"], "no_residual and no_residual exclude"),
    ],
)
def test_wrong_ablations_are_named(arch: Arch, names: list[str], message: str) -> None:
    with pytest.raises(NasError) as caught:
        ablated(arch, names)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [3, {"no_se": True}, [1]])
def test_an_option_that_is_no_name_is_named(value: object) -> None:
    with pytest.raises(NasError, match="ablate must be a name or a list of names, but is"):
        chosen_arch("mobilenet_v2", ablate=value)
