"""Timing model files for real, with memory for all of them and for none."""

from collections.abc import Iterator

import pytest

from nas.arch import Layer
from nas.errors import NasError
from nas.latency.devices.local import LocalDevice
from nas.latency.runner import bench
from nas.latency.runner.bench import Job, time_models
from nas.latency.runner.sessions import open_session
from nas.latency.runner.timing import ANCHOR, Plan
from nas.latency.runtimes.contract import layer_module
from nas.latency.runtimes.registry import load_runtime

TEXTS = ("mb k3 16>64>24 s2 re @14", "mb k5 24>72>24 s1 hs @14", "mb k3 24>72>24 s1 re @7")


@pytest.fixture(scope="module")
def job() -> Job:
    runtime = load_runtime("onnxruntime")
    models = {text: runtime.export(*layer_module(Layer.parse(text))) for text in TEXTS}
    plan = Plan(n_rounds=3, n_warmups=0, n_runs=2)
    return Job(runtime=runtime.name, plan=plan, models=models, anchor=models[TEXTS[0]])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    found: list[bytes] = []

    def counting(runtime: str, model: bytes, **options: object) -> object:
        found.append(model)
        return open_session(runtime, model, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "open_session", counting)
    yield found


@pytest.mark.parametrize(("free", "n_opened"), [(2**30, 3 + 1), (0, 3 * 3 + 1)])
def test_models_that_memory_does_not_hold_are_opened_at_each_visit(
    job: Job, opened: list[bytes], monkeypatch: pytest.MonkeyPatch, free: int, n_opened: int
) -> None:
    monkeypatch.setattr(bench, "free_memory_bytes", lambda: free)
    readings = list(time_models(job))
    visits = [(one.name, one.round) for one in readings if one.name != ANCHOR]
    assert sorted(visits) == sorted((text, number) for text in TEXTS for number in range(3))
    assert all(0 < ms < 1000 for one in readings for ms in one.times_ms)
    assert len(opened) == n_opened


def test_only_what_is_left_is_opened(job: Job, opened: list[bytes]) -> None:
    done = {(text, number) for text in TEXTS[1:] for number in range(3)}
    readings = [one for one in time_models(job, done=done) if one.name != ANCHOR]
    assert [one.name for one in readings] == [TEXTS[0]] * 3
    assert len(opened) == 2


def test_a_larger_layer_takes_longer() -> None:
    runtime = load_runtime("onnxruntime")
    texts = ("mb k3 16>16>16 s1 re @7", "mb k5 64>384>64 s1 re @28")
    models = {text: runtime.export(*layer_module(Layer.parse(text))) for text in texts}
    job = Job(runtime=runtime.name, plan=Plan(n_rounds=5), models=models, anchor=models[texts[0]])
    quickest = {
        text: min(min(one.times_ms) for one in time_models(job) if one.name == text)
        for text in texts
    }
    assert quickest[texts[1]] > 5 * quickest[texts[0]]


def test_a_model_that_is_none_is_an_error_of_ours(job: Job) -> None:
    broken = Job(runtime="onnxruntime", plan=job.plan, models={"a": b"nothing"}, anchor=job.anchor)
    device = LocalDevice()
    with pytest.raises(NasError, match="the model of a cannot be run by onnxruntime"):
        list(device.time(broken, done=(), start_s=0, on_step=lambda *_: None))
