"""SSDLite: boxes and matches against brute force, counts against hooks and papers, a training."""

from math import log, sqrt

import pytest
import torch
from made_scenes import made_scenes, quick_norms
from test_backbone import hooked
from torch import Tensor
from torch.nn import functional

from nas.arch import Arch
from nas.backbone import Backbone, reduced_tail
from nas.errors import NasError
from nas.heads import ssdlite_cost
from nas.network.build import build
from nas.network.detection.anchors import Anchors
from nas.network.detection.boxes import decode, encode, overlaps, suppress
from nas.network.detection.loss import Target, match, multibox_loss
from nas.network.detection.ssdlite import SSDLite, SSDLiteHead
from nas.network.features import Features
from nas.network.lraspp import LRASPP
from nas.space import SearchSpace

GRID = 12
NO_SHARE = sqrt(2) - 1  # no share of cells is irrational, so none is on the border
META = torch.device("meta")


def grid_boxes(n: int, seed: int) -> Tensor:
    """Return boxes with corners on a grid, in cells."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, GRID - 1, (n, 2), generator=generator)
    sizes = torch.randint(1, GRID, (n, 2), generator=generator)
    return torch.cat([starts, (starts + sizes).clamp(max=GRID)], 1)


def cells(box: Tensor) -> set[tuple[int, int]]:
    left, top, right, bottom = box.tolist()
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def counted_overlap(box: Tensor, other: Tensor) -> float:
    one, two = cells(box), cells(other)
    return len(one & two) / len(one | two)


def test_overlaps_are_counted_cells() -> None:
    boxes, others = grid_boxes(12, 0), grid_boxes(9, 1)
    found = overlaps(boxes / GRID, others / GRID)
    wanted = [[counted_overlap(box, other) for other in others] for box in boxes]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_boxes_without_area_overlap_nothing() -> None:
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert overlaps(point, point).tolist() == [[0.0]]


def test_offsets_by_hand() -> None:
    anchor = torch.tensor([[0.2, 0.2, 0.6, 0.4]])  # 0.4 wide, 0.2 high, centre (0.4, 0.3)
    box = torch.tensor([[0.3, 0.1, 0.5, 0.9]])  # 0.2 wide, 0.8 high, centre (0.4, 0.5)
    wanted = torch.tensor([[0.0, 10 * 0.2 / 0.2, 5 * log(0.5), 5 * log(4.0)]])
    torch.testing.assert_close(encode(box, anchor), wanted, rtol=1e-5, atol=1e-5)


def test_decoding_undoes_encoding() -> None:
    boxes, anchors = grid_boxes(50, 2) / GRID, grid_boxes(50, 3) / GRID
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes)
    assert decode(torch.full((50, 4), 1e6), anchors).isfinite().all()


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_that_of_brute_force(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes = grid_boxes(40, seed + 10)
    scores = torch.rand(40, generator=generator)
    labels = torch.randint(0, 3, (40,), generator=generator)
    kept: list[int] = []
    for number in sorted(range(40), key=lambda number: -float(scores[number])):
        rivals = [other for other in kept if labels[other] == labels[number]]
        if all(counted_overlap(boxes[number], boxes[other]) < NO_SHARE for other in rivals):
            kept.append(number)
    assert len(kept) < 40
    assert suppress(boxes / GRID, scores, labels, NO_SHARE).tolist() == kept


def test_suppression_of_nothing() -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert suppress(torch.zeros(0, 4), torch.zeros(0), none, 0.5).tolist() == []


def brute_match(anchors: Tensor, boxes: Tensor, min_overlap: float) -> list[int]:
    """Match as SSD's paper says, pair by pair, on counted overlaps."""
    shared = {
        (b, a): counted_overlap(box, anchor)
        for b, box in enumerate(boxes)
        for a, anchor in enumerate(anchors)
    }
    owner = {}
    for a in range(len(anchors)):
        best = max(range(len(boxes)), key=lambda b: shared[b, a])
        owner[a] = best if shared[best, a] >= min_overlap else -1
    left = dict(shared)
    while left:
        b, a = max(left, key=lambda pair: left[pair])
        owner[a] = b
        left = {pair: one for pair, one in left.items() if pair[0] != b and pair[1] != a}
    return [owner[a] for a in range(len(anchors))]


@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_brute_force(seed: int) -> None:
    anchors, boxes = grid_boxes(30, seed + 20), grid_boxes(4, seed + 40)
    found = match(anchors / GRID, boxes / GRID).tolist()
    assert found == brute_match(anchors, boxes, 0.5)
    assert set(found) - {-1} == {0, 1, 2, 3}  # every box has an anchor


def test_more_boxes_than_anchors_and_none() -> None:
    anchors, boxes = grid_boxes(2, 0) / GRID, grid_boxes(5, 1) / GRID
    assert min(match(anchors, boxes).tolist()) >= 0
    assert match(anchors, torch.zeros(0, 4)).tolist() == [-1, -1]


def test_loss_by_hand() -> None:
    anchors = torch.tensor([[0.0, 0.0, 0.5, 0.5]] + [[0.5, 0.5, 1.0, 1.0]] * 5)
    target = Target.of(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([1]), 2)
    scores = torch.tensor([[[0.0, 0.0, 1.0], *([float(n), 0.0, 0.0] for n in range(5))]])
    offsets = torch.zeros(1, 6, 4)
    offsets[0, 0, 0], offsets[0, 0, 3] = 3.0, 0.5  # smooth L1: 3 - 1/2 and 0.5^2 / 2
    offsets[0, 3] = 9.0  # an anchor on background has no box
    on_box = -float(functional.log_softmax(scores[0, 0], 0)[2])
    hardest = [-float(functional.log_softmax(scores[0, n], 0)[0]) for n in (1, 2, 3)]
    wanted = 2.5 + 0.125 + on_box + sum(hardest)
    assert float(multibox_loss(scores, offsets, anchors, [target])) == pytest.approx(wanted)
    # An image without boxes: the three anchors that look least like background.
    empty = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 2)
    losses = sorted(-float(one[0]) for one in functional.log_softmax(scores[0], 1))
    alone = float(multibox_loss(scores, offsets, anchors, [empty]))
    assert alone == pytest.approx(sum(losses[-3:]))


def test_loss_is_of_full_precision() -> None:
    torch.manual_seed(0)
    scenes = made_scenes(2, 48, 64, seed=1)
    anchors = Anchors.of_ssd(2).boxes([(6, 8), (3, 4)])
    scores, offsets = torch.randn(2, len(anchors), 3), torch.randn(2, len(anchors), 4)
    halves = scores.bfloat16(), offsets.bfloat16()
    loss = multibox_loss(*halves, anchors, scenes.targets)
    assert loss.dtype == torch.float32
    full = multibox_loss(halves[0].float(), halves[1].float(), anchors, scenes.targets)
    assert float(loss) == float(full) > 0


def test_anchors_by_hand() -> None:
    shapes = Anchors.of_ssd(6, is_finest_reduced=False).shapes
    # torchvision's DefaultBoxGenerator(min_ratio=0.2, max_ratio=0.95): scales in steps of 0.15
    assert [round(one[0][0], 6) for one in shapes] == [0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
    assert shapes[0][1] == pytest.approx((sqrt(0.2 * 0.35),) * 2)
    assert shapes[5][1] == pytest.approx((sqrt(0.95),) * 2)
    assert shapes[1][2] == pytest.approx((0.35 * sqrt(2), 0.35 / sqrt(2)))
    assert shapes[1][5] == pytest.approx((0.35 / sqrt(3), 0.35 * sqrt(3)))


def test_anchors_come_in_order() -> None:
    anchors = Anchors(shapes=(((0.1, 0.2), (0.4, 0.3)), ((1.0, 0.5),)))
    wanted = [
        [x / width - w / 2, y / height - h / 2, x / width + w / 2, y / height + h / 2]
        for (height, width), shapes in zip(((3, 4), (2, 1)), anchors.shapes, strict=True)
        for y in (row + 0.5 for row in range(height))
        for x in (column + 0.5 for column in range(width))
        for w, h in shapes
    ]
    torch.testing.assert_close(anchors.boxes([(3, 4), (2, 1)]), torch.tensor(wanted))
    assert anchors.n_per_pixel == (2, 1)


@pytest.mark.parametrize(
    ("resolution", "is_finest_reduced", "n"),
    [(300, True, 1917), (320, False, 3234)],  # TensorFlow's detection API; torchvision
)
def test_number_of_anchors_is_the_known_one(
    resolution: int, is_finest_reduced: bool, n: int
) -> None:
    anchors = Anchors.of_ssd(6, is_finest_reduced=is_finest_reduced)
    with META:
        detector = SSDLite(paper_backbone("mobilenet_v3_small"), 90, anchors=anchors).eval()
        scores, offsets = detector(torch.empty(2, 3, resolution, resolution))
    assert scores.shape == (2, n, 91)
    assert offsets.shape == (2, n, 4)
    assert detector.boxes(resolution, resolution).shape == (n, 4)


def paper_backbone(name: str, *, is_reduced: bool = False) -> Features:
    arch = reduced_tail(Arch.load(name)) if is_reduced else Arch.load(name)
    return build(arch, features_only=True, strides=(16, 32), at_expansion=True)


def test_predictions_are_laid_as_the_anchors() -> None:
    torch.manual_seed(0)
    head = SSDLiteHead((8, 8), (3, 6, 6), 2, extras=(4,)).eval()
    maps = [torch.randn(1, 8, 5, 7), torch.randn(1, 8, 3, 4)]
    with torch.no_grad():
        scores, offsets = head(maps)
        raw = head.scores[0](maps[0])
        assert scores.shape[1] == offsets.shape[1] == 5 * 7 * 3 + 3 * 4 * 6 + 2 * 2 * 6
        for y, x, shape in ((0, 0, 0), (4, 6, 2), (1, 5, 1)):
            anchor = (y * 7 + x) * 3 + shape
            torch.testing.assert_close(scores[0, anchor], raw[0, 3 * shape : 3 * shape + 3, y, x])


def test_torchvision_counts_the_same() -> None:
    # torchvision's SSDLite320_MobileNet_V3_Large_Weights.COCO_V1: num_params 3440060, _ops 0.583;
    # its backbone has the reduced tail, its 91 classes hold the background.
    anchors = Anchors.of_ssd(6, is_finest_reduced=False)
    with META:
        backbone = paper_backbone("mobilenet_v3_large", is_reduced=True)
        detector = SSDLite(backbone, 90, anchors=anchors)
    cost = detector.cost(320, 320)
    assert cost.params == sum(one.numel() for one in detector.parameters()) == 3_440_060
    assert round(cost.macs / 1e9, 3) == 0.583


@pytest.mark.parametrize(
    ("name", "is_reduced", "params_m", "macs_b"),
    [
        # arXiv:1905.02244, table 6, at 320 pixels
        ("mobilenet_v1", False, 5.1, 1.3),
        ("mobilenet_v2", False, 4.3, 0.80),
        ("mnasnet_a1", False, 4.88, 0.84),
        ("mobilenet_v3_large", False, 4.97, 0.62),
        ("mobilenet_v3_large", True, 3.22, 0.51),
        ("mobilenet_v3_small", False, 2.49, 0.21),
        ("mobilenet_v3_small", True, 1.77, 0.16),
    ],
)
def test_counts_are_near_the_published(
    name: str, is_reduced: bool, params_m: float, macs_b: float
) -> None:
    arch = reduced_tail(Arch.load(name)) if is_reduced else Arch.load(name)
    backbone = Backbone.of(arch, (16, 32), at_expansion=True)
    n_anchors = Anchors.of_ssd(6).n_per_pixel
    cost = ssdlite_cost(backbone, 320, 320, num_classes=90, n_anchors=n_anchors)
    assert cost.params / 1e6 == pytest.approx(params_m, rel=0.05)
    assert cost.macs / 1e9 == pytest.approx(macs_b, rel=0.02)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v1"])
def test_counts_are_those_of_the_modules(name: str) -> None:
    with META:
        detector = SSDLite(paper_backbone(name), 7, extras=(96, 32))
    cost = detector.cost(161, 250)
    assert hooked(detector, 3, 161, 250) == (cost.macs, cost.params)


def small_detector() -> SSDLite:
    arch = SearchSpace.load("tiny").random(4)
    return SSDLite(build(arch, features_only=True, strides=(4, 8)), 2, extras=(32,))


@pytest.mark.slow
def test_training_finds_the_rectangles() -> None:
    torch.manual_seed(0)
    detector = small_detector()
    quick_norms(detector)
    scenes = made_scenes(32, 48, 64, seed=0)
    optimizer = torch.optim.Adam(detector.parameters(), lr=5e-3)
    losses = []
    for step in range(24):
        own = slice(8 * (step % 4), 8 * (step % 4) + 8)
        loss = detector.loss(scenes.images[own], scenes.targets[own])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    found = detector.eval().detect(scenes.images, min_score=0.3)
    n_boxes = n_found = 0
    for target, one in zip(scenes.targets, found, strict=True):
        for box, label in zip(target.boxes, target.labels, strict=True):
            own_boxes = one.boxes[one.labels == label]
            n_boxes += 1
            n_found += len(own_boxes) > 0 and bool((overlaps(box[None], own_boxes) > 0.5).any())
    assert n_found > 0.6 * n_boxes


@pytest.mark.slow
@torch.no_grad()
def test_detector_and_segmenter_can_be_exported() -> None:
    arch = SearchSpace.load("tiny").random(4)
    features = build(arch, features_only=True, strides=(4, 8), output_stride=4, at_expansion=True)
    images = torch.randn(1, 3, 49, 64)
    for network in (small_detector().eval(), LRASPP(features, 3, filters=16).eval()):
        exported = torch.export.export(network, (images,)).module()
        for one, other in zip(exported(images), network(images), strict=True):
            torch.testing.assert_close(one, other)


def test_detections_are_few_and_ordered() -> None:
    torch.manual_seed(0)
    found = small_detector().eval().detect(torch.randn(2, 3, 48, 64), min_score=0.0, most=7)
    assert len(found) == 2
    for one in found:
        assert one.boxes.shape == (7, 4)
        assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)
        assert ((one.boxes >= 0) & (one.boxes <= 1)).all()
        assert set(one.labels.tolist()) <= {0, 1}
    (none,) = small_detector().eval().detect(torch.randn(1, 3, 48, 64), min_score=1.0)
    assert len(none.boxes) == len(none.scores) == len(none.labels) == 0


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        ([[0.0, 0.0, 31.0, 20.0]], [0], r"hold \[0.0, 0.0, 31.0, 20.0\]. Divide pixels by"),
        ([[0.1, 0.1, 0.3, 0.3], [0.5, 0.1, 0.5, 0.2]], [0, 0], r"hold \[0.5, 0.1, 0.5, 0.2\]"),
        ([[0.1, float("nan"), 0.3, 0.3]], [0], "left, top, right, bottom in shares"),
        ([[0.1, 0.1, 0.3, 0.3]], [2], "labels must be from 0 to 1, but reach from 2 to 2"),
        ([[0.1, 0.1, 0.3, 0.3]], [0, 1], r"but are \(1, 4\) and \(2,\)"),
    ],
)
def test_wrong_targets_are_named(boxes: list[list[float]], labels: list[int], message: str) -> None:
    with pytest.raises(NasError, match=message):
        Target.of(torch.tensor(boxes), torch.tensor(labels), 2)


def test_wrong_parts_are_named() -> None:
    detector = small_detector()
    with pytest.raises(NasError, match="2 images need as many targets, but got 1"):
        detector.loss(torch.randn(2, 3, 48, 64), made_scenes(1, 48, 64, 0).targets)
    with pytest.raises(NasError, match=r"anchors must be for the 6 maps .* but are for 3"):
        SSDLite(detector.backbone, 2, anchors=detector.anchors)
    with pytest.raises(NasError, match="anchors must be for at least 2 maps"):
        Anchors.of_ssd(1)
    with pytest.raises(NasError, match="num_classes must be an integer from 1"):
        SSDLite(detector.backbone, 0)
