"""Calibration on made devices whose truth is known, and against plain least squares."""

import numpy as np
import pytest

from nas.arch import Arch, Layer
from nas.baselines import baselines
from nas.errors import NasError
from nas.latency import calibrate as module
from nas.latency.calibrate import Isolated, Timed, calibrate
from nas.latency.correction import Correction, layer_counts, outer_boundary
from nas.latency.subjects import Probes, Subject, choose_probes
from nas.ops import ops_of
from nas.space import SearchSpace

SPACE = SearchSpace.load("mobilenet_v3_large")
LAYERS = tuple(
    dict.fromkeys([*SPACE.layers(), *(layer for arch in baselines() for layer in arch.layers)])
)


class MadeDevice:
    """Layers alone cost what is read; in a network scale, borders, weights and luck come in."""

    def __init__(self, *, deviation: float = 0.0, noise: float = 0.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.isolated = {
            layer: 0.02 + sum(op.macs / 2e7 + op.out_elements / 4e6 for op in ops_of(layer))
            for layer in LAYERS
        }
        self.inside = {}
        for layer, ms in self.isolated.items():
            boundary, weights = layer_counts(layer)
            luck = deviation * rng.standard_normal()
            self.inside[layer] = ms * (1.05 + luck) - 0.04 * boundary + 0.1 * weights
        self._rng, self._noise = rng, noise

    def whole(self, subject: Subject) -> float:
        if subject.is_network:
            ms = sum(map(self.inside.__getitem__, subject.layers))
        else:
            crossing = sum(layer_counts(layer)[0] for layer in subject.layers)
            inner = crossing - outer_boundary(subject.layers)
            ms = sum(map(self.isolated.__getitem__, subject.layers)) - 0.04 * inner
        return ms * (1 + self._noise * self._rng.standard_normal())

    def priors(self) -> dict[Layer, Isolated]:
        return {layer: Isolated(ms=ms, std_ms=0.002 * ms) for layer, ms in self.isolated.items()}

    def timed(self, probes: Probes) -> list[Timed]:
        return [Timed(subject=one, ms=self.whole(one)) for one in probes.calibration]


@pytest.fixture(scope="module")
def probes() -> Probes:
    return choose_probes([SPACE], baselines(), n_calibration=60, n_check=60, seed=0)


def _errors(rows: dict[Layer, float], device: MadeDevice, subjects: list[Subject]) -> list[float]:
    return [
        sum(map(rows.__getitem__, one.layers)) / sum(map(device.inside.__getitem__, one.layers)) - 1
        for one in subjects
    ]


@pytest.mark.slow
def test_a_device_that_follows_the_model_is_found_exactly(probes: Probes) -> None:
    device = MadeDevice()
    found = calibrate(device.priors(), device.timed(probes))
    assert found.correction.scale == pytest.approx(0.05, abs=0.005)
    assert found.correction.boundary_ms == pytest.approx(-0.04, abs=0.004)
    assert found.correction.weights_ms == pytest.approx(0.1, abs=0.01)
    everything = [*probes.unseen, *probes.baselines.values()]
    assert np.abs(_errors(dict(found.ms), device, everything)).max() < 0.005


def test_noise_and_layers_of_their_own_are_averaged_out(probes: Probes) -> None:
    device = MadeDevice(deviation=0.08, noise=0.02, seed=3)
    found = calibrate(device.priors(), device.timed(probes))
    unseen = list(probes.unseen)
    plain = np.array(_errors(device.isolated, device, unseen))
    plain = np.abs((1 + plain) / np.median(1 + plain) - 1)
    calibrated = np.abs(_errors(dict(found.ms), device, unseen))
    assert calibrated.mean() < 0.02
    assert calibrated.mean() < 0.85 * plain.mean()


def test_the_standard_deviations_say_how_far_the_rows_are_off(probes: Probes) -> None:
    device = MadeDevice(deviation=0.08, noise=0.01, seed=5)
    found = calibrate(device.priors(), device.timed(probes))
    off = [
        (found.ms[layer] - device.inside[layer]) / found.std_ms[layer] for layer in SPACE.layers()
    ]
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.5
    assert all(std > 0 for std in found.std_ms.values())


def test_it_is_the_regularised_least_squares_that_it_says(
    probes: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    deviation, noise = 0.04, 0.01
    monkeypatch.setattr(module, "DEVIATIONS", (deviation,))
    monkeypatch.setattr(module, "NOISES", (noise,))
    device = MadeDevice(deviation=0.05, noise=0.01, seed=7)
    timed = [one for one in device.timed(probes) if one.subject.is_network]
    priors = device.priors()
    found = calibrate(priors, timed)

    isolated = np.array([priors[layer].ms for layer in LAYERS])
    spread = np.hypot(deviation * isolated, [priors[layer].std_ms for layer in LAYERS])
    counts = np.array([layer_counts(layer) for layer in LAYERS])
    features = np.column_stack([isolated, counts * isolated.sum() / counts.sum(axis=0)])
    holds = np.array([[one.subject.layers.count(layer) for layer in LAYERS] for one in timed])
    ms = np.array([one.ms for one in timed])
    design = np.column_stack([holds @ features, holds])
    errors = np.concatenate([np.full(3, module.COEFFICIENT_STD), spread])
    equations = np.vstack([design / (noise * ms[:, None]), np.diag(1 / errors)])
    targets = np.concatenate([(ms - holds @ isolated) / (noise * ms), np.zeros(len(errors))])
    solution = np.linalg.lstsq(equations, targets)[0]
    expected = isolated + features @ solution[:3] + solution[3:]
    np.testing.assert_allclose([found.ms[layer] for layer in LAYERS], expected, rtol=1e-6)


def test_rows_of_an_earlier_session_stay(probes: Probes) -> None:
    device = MadeDevice()
    kept = set(LAYERS[:150])
    priors = device.priors() | {
        layer: Isolated(ms=device.inside[layer], std_ms=0.0) for layer in kept
    }
    found = calibrate(priors, device.timed(probes), fixed=kept)
    assert [found.ms[layer] for layer in kept] == pytest.approx(
        [device.inside[layer] for layer in kept]
    )
    new = [layer for layer in SPACE.layers() if layer not in kept]
    off = [found.ms[layer] / device.inside[layer] - 1 for layer in new]
    assert np.abs(off).mean() < 0.05


def test_no_row_becomes_negative_however_the_networks_came_out(probes: Probes) -> None:
    device = MadeDevice()
    timed = [Timed(subject=one, ms=0.05) for one in probes.calibration]
    found = calibrate(device.priors(), timed)
    assert min(found.ms[layer] / device.isolated[layer] for layer in LAYERS) == pytest.approx(0.25)


def test_a_new_layer_is_corrected_as_the_others_were(probes: Probes) -> None:
    device = MadeDevice()
    correction = calibrate(device.priors(), device.timed(probes)).correction
    layer = Layer.parse("mb k3 40>104>40 s1 re @28")
    boundary, weights = layer_counts(layer)
    expected = 1.05 * 0.7 - 0.04 * boundary + 0.1 * weights
    assert correction.apply(layer, 0.7) == pytest.approx(expected, rel=0.01)
    read = Correction.parse(str(correction))
    assert read.apply(layer, 0.7) == pytest.approx(correction.apply(layer, 0.7), rel=1e-5)


@pytest.mark.parametrize("text", ["", "scale=1", "scale=a boundary_ms=0 weights_ms=0 deviation=0"])
def test_a_broken_correction_is_named(text: str) -> None:
    with pytest.raises(NasError, match="correction of a table must hold scale"):
        Correction.parse(text)


def test_borders_are_counted_by_hand() -> None:
    layer = Layer.parse("mb k5 24>72>40 s2 se24 re @56")
    assert outer_boundary((layer,)) * 1e6 == 56 * 56 * 24 + 28 * 28 * 40
    arch = Arch.load("mobilenet_v3_large")
    assert outer_boundary(arch.layers) == 0
    assert outer_boundary(arch.layers[:1]) * 1e6 == 112 * 112 * 16
