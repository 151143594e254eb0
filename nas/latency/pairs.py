"""Pairs of layers that differ in one property, and which layers have which property."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from statistics import median

from nas.arch import Layer

Pair = tuple[Layer, Layer]
"""A layer without and with a property, all else equal."""

# A step between expansions is worth a line where this share of the layers' families takes it.
COMMON = 0.08


def matched_pairs(layers: Iterable[Layer]) -> dict[str, list[Pair]]:
    """Return the pairs for each question that the layers can answer, by its name."""
    held = dict.fromkeys(layers)
    found = {name: list(_pairs(held, without)) for name, without in _QUESTIONS.items()}
    return {name: pairs for name, pairs in (found | _expansion_pairs(held)).items() if pairs}


def expansion(layer: Layer) -> float:
    """Return the expansion of an mbconv, rounded to halves; widths are rounded to 8 channels."""
    return round(2 * layer.mid_channels / layer.in_channels) / 2


def properties(layer: Layer) -> tuple[str, ...]:
    """Return what a layer is, in the words of a reader of tables."""
    words = [f"op {layer.op}", f"size @{layer.size}", f"act {layer.act}"]
    if layer.op != "head":
        words += [f"kernel {layer.kernel}", f"stride {layer.stride}"]
    if layer.op == "mbconv":
        words += ["with SE" if layer.se else "without SE", f"expansion {expansion(layer):g}"]
    return tuple(words)


def _without_hswish(layer: Layer) -> Layer | None:
    return replace(layer, act="relu") if layer.act == "hswish" else None


def _without_se(layer: Layer) -> Layer | None:
    return replace(layer, se=0) if layer.se and layer.se_at == "depthwise" else None


def _with_kernel(larger: int, smaller: int) -> Callable[[Layer], Layer | None]:
    def without(layer: Layer) -> Layer | None:
        return replace(layer, kernel=smaller) if layer.kernel == larger else None

    return without


_QUESTIONS: dict[str, Callable[[Layer], Layer | None]] = {
    "h-swish instead of ReLU": _without_hswish,
    "SE instead of none": _without_se,
    "kernel 5 instead of 3": _with_kernel(5, 3),
    "kernel 7 instead of 5": _with_kernel(7, 5),
}


def _pairs(held: dict[Layer, None], without: Callable[[Layer], Layer | None]) -> Iterator[Pair]:
    for layer in held:
        if (other := without(layer)) in held and other is not None:
            yield other, layer


def _expansion_pairs(held: dict[Layer, None]) -> dict[str, list[Pair]]:
    families = _expansion_families(held)
    steps: dict[tuple[float, float], list[Pair]] = {}
    for family in families:
        for low, high in pairwise(sorted(family)):
            steps.setdefault((low, high), []).append((family[low], family[high]))
    found: dict[str, list[Pair]] = {}
    for _, pairs in sorted(steps.items()):
        if len(pairs) >= COMMON * len(families):
            found.setdefault(_expansion_name(pairs), []).extend(pairs)
    return found


def _expansion_name(pairs: list[Pair]) -> str:
    ratios = [[layer.mid_channels / layer.in_channels for layer in pair] for pair in pairs]
    without, expanded = (median(side) for side in zip(*ratios, strict=True))
    return f"expansion {expanded:.2g} instead of {without:.2g}"


def _expansion_families(held: dict[Layer, None]) -> list[dict[float, Layer]]:
    """Return mbconvs that differ in their middle alone, by expansion, where there are several."""
    families: dict[tuple[object, ...], dict[float, Layer]] = {}
    for layer in held:
        if layer.op == "mbconv":
            rest = (layer.in_channels, layer.out_channels, layer.size, layer.kernel, layer.stride)
            kinds = (layer.se, layer.se_at, layer.act, layer.residual, layer.linear)
            families.setdefault((rest, kinds), {}).setdefault(expansion(layer), layer)
    return [family for family in families.values() if len(family) > 1]
