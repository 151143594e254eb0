"""Ablations: the networks of the papers with one idea of theirs taken out or moved.

Each makes one network of another, so that every command can take it: `ablate=[no_residual]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nas.arch import Arch, Layer
from nas.errors import NasError, shown, unknown
from nas.scaling import make_divisible

SQUEEZE = 4
"""Squeeze-and-excite narrows to a quarter, of what differs between the papers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """What is changed in every layer; of one group only one can be chosen."""

    says: str
    group: str
    change: Callable[[Layer], Layer]


def _without_residual(layer: Layer) -> Layer:
    return replace(layer, residual=False)


def _nonlinear(layer: Layer) -> Layer:
    return replace(layer, linear=False) if layer.op == "mbconv" else layer


def _without_se(layer: Layer) -> Layer:
    return replace(layer, se=0)


def _relu(layer: Layer) -> Layer:
    return replace(layer, act="relu") if layer.act == "hswish" else layer


def _squeeze_of_input(layer: Layer) -> Layer:
    return replace(layer, se=max(1, layer.in_channels // SQUEEZE)) if layer.se else layer


def _squeeze_of_expansion(layer: Layer) -> Layer:
    return replace(layer, se=make_divisible(layer.mid_channels / SQUEEZE)) if layer.se else layer


def _before_depthwise(layer: Layer) -> Layer:
    return replace(layer, se_at="expansion") if layer.se else layer


def _after_projection(layer: Layer) -> Layer:
    if not layer.se:
        return layer
    # A squeeze that is a quarter of the gated channels stays so; one of the input is not touched.
    is_quarter = layer.se == make_divisible(layer.mid_channels / SQUEEZE)
    squeeze = make_divisible(layer.out_channels / SQUEEZE) if is_quarter else layer.se
    return replace(layer, se_at="projection", se=squeeze)


ABLATIONS = {
    "no_residual": Ablation(
        says="no shortcut around a block (arXiv:1801.04381, figure 6b)",
        group="residual",
        change=_without_residual,
    ),
    "nonlinear_bottleneck": Ablation(
        says="the block's activation after its projection too (arXiv:1801.04381, figure 6a)",
        group="bottleneck",
        change=_nonlinear,
    ),
    "no_se": Ablation(says="no squeeze-and-excite", group="se", change=_without_se),
    "se_of_input": Ablation(
        says="squeezed to a quarter of the block's input, as MnasNet's (arXiv:1807.11626)",
        group="squeeze",
        change=_squeeze_of_input,
    ),
    "se_of_expansion": Ablation(
        says="squeezed to a quarter of the expansion, as MobileNetV3's (arXiv:1905.02244, 5.3)",
        group="squeeze",
        change=_squeeze_of_expansion,
    ),
    "se_before_depthwise": Ablation(
        says="squeeze-and-excite on the expansion, before the depthwise convolution",
        group="se",
        change=_before_depthwise,
    ),
    "se_after_projection": Ablation(
        says="squeeze-and-excite on the block's output, before the addition (arXiv:1709.01507)",
        group="se",
        change=_after_projection,
    ),
    "no_hswish": Ablation(
        says="ReLU in place of h-swish (arXiv:1905.02244, table 5)", group="act", change=_relu
    ),
}
"""By name, in the order in which they are applied."""


def ablated(arch: Arch, names: Sequence[str]) -> Arch:
    """Return the network with these ablations, in its name too; the order of names is nothing.

    Raises:
        NasError: a name is unknown or twice, two exclude each other, or one changes nothing.
    """
    chosen: dict[str, str] = {}
    for name in names:
        if name not in ABLATIONS:
            raise unknown("ablation", name, ABLATIONS)
        other = chosen.setdefault(ABLATIONS[name].group, name)
        if names.count(name) > 1 or other != name:
            raise NasError(f"ablations {other} and {name} exclude each other. Choose one of them.")
    for name in (name for name in ABLATIONS if name in names):
        layers = tuple(map(ABLATIONS[name].change, arch.layers))
        if layers == arch.layers:
            raise NasError(
                f"ablation {name} must change something, but {arch.name} has nothing of that. "
                "Leave it out, or choose another network."
            )
        arch = replace(arch, name=f"{arch.name}_{name}", layers=layers)
    return arch


def chosen_arch(
    name: str, width: float = 1.0, resolution: int | None = None, ablate: object = None
) -> Arch:
    """Return the network that the options of a command choose: loaded, scaled, ablated.

    `ablate` is a name, a list of names or None.

    Raises:
        NasError: any of them is wrong.
    """
    return ablated(Arch.load(name).scaled(width, resolution), ablation_names(ablate))


def ablation_names(ablate: object) -> list[str]:
    """Return the names that an option `ablate` holds.

    Raises:
        NasError: it is neither a name nor a list of names.
    """
    found = [] if ablate is None else [ablate] if isinstance(ablate, str) else ablate
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise NasError(
            f"ablate must be a name or a list of names, but is {shown(ablate)}. "
            "Write ablate=[no_residual]."
        )
    return found
