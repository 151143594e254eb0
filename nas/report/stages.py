"""A network cut into stages, and two networks laid side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from nas.arch import Layer
from nas.candidate import Candidate
from nas.report.markup import Html, element, join


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of layers up to the next stride or change of channels; `layer_ms` as in a candidate."""

    layers: tuple[Layer, ...]
    layer_ms: tuple[float, ...]

    @property
    def phase(self) -> tuple[str, int]:
        """Return what the stages of two networks have in common where they correspond."""
        return self.layers[0].op, self.layers[0].out_size

    @property
    def ms(self) -> float:
        """Return the latency of the stage."""
        return sum(self.layer_ms)


def stages_of(candidate: Candidate) -> list[Stage]:
    """Return the stages in network order."""
    layers = candidate.arch.layers
    starts = [n for n in range(len(layers)) if n == 0 or _begins_stage(layers[n - 1], layers[n])]
    return [
        Stage(layers=layers[start:end], layer_ms=candidate.layer_ms[start:end])
        for start, end in zip(starts, [*starts[1:], len(layers)], strict=True)
    ]


def _begins_stage(above: Layer, layer: Layer) -> bool:
    return layer.stride > 1 or (layer.op, layer.out_channels) != (above.op, above.out_channels)


def align(left: list[Stage], right: list[Stage]) -> list[tuple[Stage | None, Stage | None]]:
    """Return rows of corresponding stages; None where one network has no counterpart."""
    phases, others = ([stage.phase for stage in side] for side in (left, right))
    matcher = SequenceMatcher(None, phases, others, autojunk=False)
    return [
        row
        for _, i, i_end, j, j_end in matcher.get_opcodes()
        for row in zip_longest(left[i:i_end], right[j:j_end])
    ]


def side_by_side(
    winner: Candidate,
    reference: Candidate | None,
    cell: Callable[[Candidate, Stage], Html],
) -> Html:
    """Return a grid, a row a stage: the winner's cell beside its reference's."""
    sides = [winner] if reference is None else [winner, reference]
    empty: list[Stage] = []
    rows = align(stages_of(winner), stages_of(reference) if reference else empty)
    kinds = ("winner", "reference")
    heads = [element("h4", one.name, class_=kind) for kind, one in zip(kinds, sides, strict=False)]
    body = [_row(sides, stages, cell) for stages in rows]
    return element("div", element("div", *heads, class_="row head"), *body, class_="pair")


def _row(
    sides: list[Candidate],
    stages: tuple[Stage | None, Stage | None],
    cell: Callable[[Candidate, Stage], Html],
) -> Html:
    cells = [
        element("div", cell(one, stage) if stage else "", class_="cell", data_side=side)
        for side, one, stage in zip(("winner", "reference"), sides, stages, strict=False)
    ]
    return element("div", join(cells), class_="row")
