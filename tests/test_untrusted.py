"""Files and devices that lie: each kind of escape that fuzzing or reading found, by itself."""

import json
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from nas.adapt.trajectory import Step, Trajectory
from nas.arch import Arch, Layer
from nas.baselines import published_top1
from nas.cost import count_params
from nas.data import fashion_mnist, hub, image_folder
from nas.errors import NasError
from nas.extras import require
from nas.latency.correction import Correction
from nas.latency.cost_model import CostModel
from nas.latency.csv_file import read_csv
from nas.latency.devices.adb_shell import MAX_BYTES, Adb, LostPhoneError
from nas.latency.devices.benchmark_model import parse_benchmark, parse_op_profile
from nas.latency.devices.phone import read_phone
from nas.latency.devices.phone_heat import parse_temperature_c
from nas.latency.raw_times import read_raw_times
from nas.latency.rows import check_time
from nas.latency.runner.sheet import parse_reading
from nas.network.build import build, build_layer
from nas.network.checkpoint import Checkpoint, write_tensors
from nas.network.supernet.supernet import Supernet
from nas.proxies.accuracy_data import read_bench
from nas.proxies.surrogate import SHIPPED, Surrogate
from nas.search.journal import Journal
from nas.search.records import Finished
from nas.space import SearchSpace
from nas.space_bounds import check_work
from nas.text import parse_json
from nas.train.comparison import rows_of
from nas.training.full.recipe import FullRecipe
from nas.training.recipe import Recipe
from nas.training.results import TrainingName, TrainingResult, TrainingResults
from nas.training.supernet_checkpoint import SupernetCheckpoint

HUGE = 10**400
"""A whole number that no float holds."""
SPACE = SearchSpace.load("tiny")
LINES = ("conv k3 3>4 s2 re @8", "mb k3 4>8>4 s1 re @4", "head 4>2 @4")
SMALL = Arch(name="small", layers=tuple(map(Layer.parse, LINES)))


def refused(action: Callable[[], object], words: str) -> None:
    """Assert that an action is refused with these words, within a second or two."""
    begun = time.perf_counter()
    with pytest.raises(NasError) as caught:
        action()
    assert words in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert time.perf_counter() - begun < 5


# ------------------------------------------------------------------------------------------ text


def shipped_model() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "latency_tables/cost_models/pixel_cpu.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hswish_ms": HUGE}, "must be a finite number"),
        ({"hswish_ms": True}, "must be a finite number"),
        ({"terms": {"x" * 100_000: 1}}, "has a term 'xxx"),
        ({"bounds": shipped_model()["bounds"] * 12}, "must have at most 20,000 bounds"),
    ],
)
def test_a_cost_model_is_bounded(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(shipped_model() | change))
    refused(lambda: CostModel.load(path), words)


def changed_surrogate(path: Path, **change: Any) -> Path:
    content = json.loads(SHIPPED["imagenet"].read_text())
    content |= {name: content[name][:20] for name in ("weights", "landmarks", "shrink")}
    path.write_text(json.dumps(content | change))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amplitude": HUGE}, "amplitude of"),
        ({"amplitude": 1e300}, "amplitude of"),
        ({"amplitude": 1e-300}, "scales above 0"),
        # A square of as many rows would take 20 GB.
        ({"weights": [0] * 50_000, "shrink": [[]] * 50_000}, "at most 4,096 landmarks"),
        ({"shrink": [[]] * 21}, "no more rows of shrink"),
    ],
)
def test_a_surrogate_is_bounded(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = changed_surrogate(tmp_path / "mine.json", **change)
    refused(lambda: Surrogate.load(path), words)


def test_landmarks_that_are_no_process_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(matrix: object) -> None:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr("nas.proxies.gaussian_process.np.linalg.cholesky", fail)
    path = changed_surrogate(tmp_path / "mine.json")
    refused(lambda: Surrogate.load(path), "fit no process: not positive definite")


@pytest.mark.parametrize("value", [HUGE, nan, True, "9"])
def test_numbers_of_recipes_are_numbers(value: Any) -> None:
    refused(lambda: Recipe(weight_decay=value), "recipe.weight_decay must be from 0 to 10")
    refused(lambda: FullRecipe(learning_rate=value), "recipe.learning_rate must be")


def test_a_table_of_empty_lines_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("# version: 1\na\n" + "\n" * 5_000_000)
    refused(lambda: read_csv(path, ["a"]), "must have at most 200,000 rows")


def test_a_header_cannot_command_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("# version: 1\n# cpu: \x1b[2Jfast\na\n1\n")
    assert read_csv(path, ["a"]).header["cpu"] == "?[2Jfast"


def test_times_are_at_least_what_files_keep() -> None:
    refused(lambda: check_time(1e-320, "ms"), "ms must be above 0, but is")
    check_time(1e-6, "ms")


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
def test_a_correction_is_of_numbers(value: str) -> None:
    refused(
        lambda: Correction.parse(f"scale={value} boundary_ms=0 weights_ms=0 deviation=0"),
        "the correction of a table must hold",
    )


@pytest.mark.parametrize("reading", [{"at_s": HUGE}, {"round": HUGE}, {"round": -1}, {"name": 1}])
def test_raw_times_are_numbers(tmp_path: Path, reading: dict[str, Any]) -> None:
    path = tmp_path / "t.raw.jsonl"
    good = {"name": "net", "round": 0, "at_s": 0.5, "times_ms": [1.5]}
    path.write_text("\n".join(['{"version": "1"}', json.dumps(good | reading), ""]))
    refused(lambda: read_raw_times(path, {}), "line 2 must hold")


def test_words_where_choices_should_be_are_named(tmp_path: Path) -> None:
    columns = [f"b{stage}_{key}" for stage in range(7) for key in ("e", "k", "l", "se")]
    path = tmp_path / "bench.csv"
    path.write_text(",".join([*columns, "val_top1"]) + "\n" + ",".join(["x"] * 28 + ["60"]) + "\n")
    refused(lambda: read_bench(path), "bench.csv, line 2:")


def test_a_header_of_many_columns_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bench.csv"
    path.write_text(f"{'b0_e,' * 200_000}val_top1\n")
    refused(lambda: read_bench(path), "must have at most 1000 columns, but has 200,001")
    path.write_text("b0_e,b0_e,val_top1\n1,1,60\n")
    refused(lambda: read_bench(path), "has column 'b0_e' twice")


def test_published_figures_of_ones_own_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "search_spaces/baselines/published_top1.csv"
    path.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path.write_text("name,top1\nmine,seventy\n")
    refused(lambda: published_top1("mine"), "must be numbers, but one is 'seventy'")
    path.write_text("names,top1\nmine,70\n")
    refused(lambda: published_top1("mine"), "must have a column name")


def test_yaml_is_nested_to_a_depth(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("name: " + "[" * 60 + "]" * 60)
    refused(lambda: Arch.load(path), "nested more than 50 deep")


@pytest.mark.parametrize(
    ("text", "depth"), [("[]", 1), ('{"a": [{}]}', 3), ("1", 0), ("[[1], {}]", 2)]
)
def test_json_is_nested_to_a_depth(text: str, depth: int) -> None:
    assert parse_json(text, "x") == json.loads(text)
    most = "[" * (50 - depth) + text + "]" * (50 - depth)
    assert parse_json(most, "x") == json.loads(most)
    refused(lambda: parse_json(f"[{most}]", "x"), "x is nested more than 50 deep")


# ----------------------------------------------------------------------------------------- spaces


def space_file(path: Path, stage: dict[str, Any], n_stages: int) -> Path:
    content = yaml.safe_load((Path(__file__).parents[1] / "search_spaces/tiny.yaml").read_text())
    content["stages"] = [json.loads(json.dumps(content["stages"][0] | stage))] * n_stages
    path.write_text(json.dumps(content))
    return path


def test_a_space_of_too_much_work_is_refused_at_once(tmp_path: Path) -> None:
    many = {"out": [*range(8, 808, 8)], "depth": [*range(1, 9)], "kernel": [3, 5, 7]}
    path = space_file(tmp_path / "mine.yaml", many, 5)
    refused(lambda: SearchSpace.load(path), "must make at most 1,000,000 layers")


def test_the_work_of_a_space_is_at_least_what_walking_makes() -> None:
    made = sum(len(variant) for variants in SPACE.walk() for variant in variants)
    assert made > 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.space_bounds.MAX_LAYERS", made - 1)
        refused(lambda: check_work(SPACE.sections, 3, SPACE.resolution, "tiny"), "tiny must make")


def test_a_space_that_cannot_be_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.space_bounds.MAX_PLACES", 10)
    refused(lambda: SearchSpace.load("tiny").size, "its stages overlap in more")


# ------------------------------------------------------------------------------------------- runs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": "mb"}, "layers of a step must be a list"),
        ({"ms": HUGE}, "must be numbers"),
        ({"tried": [["cut", 1]]}, "must be a text, ms and top-1"),
        ({"tried": [["cut", "1", 2]]}, "must be numbers"),
        ({"name": 5}, "name of a step must be"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_steps_are_checked(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "steps.jsonl"
    Trajectory(path, {"seed": 0}).add(Step(arch=SMALL, what="", ms=1.0, top1=50.0))
    head, step = map(json.loads, path.read_text().splitlines())
    path.write_text(f"{json.dumps(head)}\n{json.dumps(step | change)}\n")
    refused(lambda: Trajectory(path, {"seed": 0}), words)


def test_steps_that_are_nested_are_refused_and_unjudged_ones_come_back(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    Trajectory(path, {}).add(Step(arch=SMALL, what="", ms=1.0, top1=nan))
    (step,) = Trajectory(path, {}).steps
    assert step.top1 != step.top1
    path.write_text("[" * 100_000)
    refused(lambda: Trajectory(path, {}), "must be the steps of an adaptation")


@pytest.mark.parametrize(
    "change",
    [
        {"top1": HUGE},
        {"history": [HUGE]},
        {"history": ["5"]},
        {"name": {"key": [], "recipe": "r", "data": "d", "seed": 0}},
        {"layers": [1]},
        {"reason": None},
    ],
)
def test_a_damaged_result_costs_only_its_own_training(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    name = TrainingName(key="k", recipe="r", data="d", seed=0)
    good = TrainingResult.now(name, SMALL, state="whole", top1=50.0)
    store = TrainingResults(tmp_path)
    bad = json.dumps({"version": 1, **asdict(good)} | change).encode() + b"\n"
    store.path.write_bytes(bad + good.line())
    assert store.every() == [good]


def test_the_end_of_a_training_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "0/metrics.json"
    path.parent.mkdir()
    good = {"network": "n", "options": "", "training": "t", "top1": 50, "top5": 90.0}
    path.write_text(json.dumps(good))
    assert rows_of(tmp_path) == [{**good, "folder": "0"}]
    changes: list[dict[str, Any]] = [
        {"training": None},
        {"top1": "50"},
        {"top5": HUGE},
        {"macs": []},
    ]
    for change in changes:
        path.write_text(json.dumps(good | change))
        refused(lambda: rows_of(tmp_path), f"but its {next(iter(change))} is")


def test_a_journal_without_values_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    create = {"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}
    trial = {
        **{"op_code": 4, "worker_id": "w", "study_id": 0, "state": 1, "params": {}},
        **{"distributions": {}, "system_attrs": {}, "intermediate_values": {}},
        "user_attrs": dict.fromkeys(("key", "ms", "top1", "top1_std", "is_new", "seconds"), 1),
        "datetime_start": "2026-01-01T00:00:00",
        "datetime_complete": "2026-01-01T00:00:01",
    }
    path.write_text(f"{json.dumps(create)}\n{json.dumps(trial)}\n")
    journal = Journal(path)
    (found,) = journal.trials("s", ["maximize"])
    journal.close()
    refused(lambda: Finished.of(found, 0), "trial 0 of the journal lacks its network's figures")


# ---------------------------------------------------------------------------------------- tensors

FACTS = {
    "version": "1",
    "arch": json.dumps({"name": "net", "scaling": "mnasnet", "layers": list(LINES)}),
    "classes": '["cat", "dog"]',
    "mean": "[0.1, 0.2, 0.3]",
    "std": "[0.1, 0.2, 0.3]",
}
GIANT = ["conv k31 65536>65536 s1 re @8", "head 65536>2 @8"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": '["x"]'}, "its mean is ['x']"),
        ({"mean": "[NaN]"}, "must be finite"),
        ({"std": f"[{HUGE}]"}, "its std is"),
        ({"classes": '"cat"'}, "its classes is 'cat'"),
        ({"arch": "[" * 100_000}, "not readable JSON"),
        ({"arch": '{"name": 1, "scaling": "mnasnet", "layers": []}'}, "name must be"),
        ({"arch": '{"name": "a", "scaling": "mnasnet", "layers": "x"}'}, "its layers are"),
        ({"version": "2" * 10_000}, "of version 1, but says '222"),
    ],
)
def test_the_facts_of_a_checkpoint_are_checked(
    tmp_path: Path, change: dict[str, str], words: str
) -> None:
    path = tmp_path / "net.safetensors"
    write_tensors(path, build(SMALL).state_dict(), FACTS | change)
    refused(lambda: Checkpoint.load(path), words)


def test_weights_of_odd_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    for kind in (torch.float8_e4m3fn, torch.complex64):
        write_tensors(path, {"layers.0": torch.ones(2).to(kind)}, FACTS)
        refused(lambda: Checkpoint.load(path), "holds no numbers in layers.0")


def test_a_few_bytes_do_not_make_a_giant() -> None:
    giant = Arch(name="giant", layers=tuple(map(Layer.parse, GIANT)))
    assert count_params(giant) > 10**12
    refused(lambda: build(giant), "must have at most 2,147,483,648 weights")
    refused(lambda: build_layer(giant.layers[0]), "must have at most 2,147,483,648 weights")
    found = Checkpoint(arch=giant, weights={}, classes=("a", "b"), mean=(0.0,), std=(1.0,))
    refused(found.network, "these weights do not fit giant: it has")


@pytest.mark.parametrize(
    ("facts", "tensors"),
    [
        ({"n_done": "-5"}, {}),
        ({"n_done": "x"}, {}),
        ({"n_done": "9" * 5000}, {}),
        ({}, {"optimizer.x.y": torch.ones(1)}),
        ({}, {"optimizer.999999.y": torch.ones(1)}),
    ],
)
def test_the_checkpoint_of_a_supernet_is_checked(
    tmp_path: Path, facts: dict[str, str], tensors: dict[str, torch.Tensor]
) -> None:
    supernet = Supernet(SPACE, lambda arch: arch, 0.0)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
    path = tmp_path / "s.safetensors"
    checkpoint = SupernetCheckpoint(path=path, identity="one")
    checkpoint.save(supernet, optimizer, 4)
    weights = {f"weights.{name}": one for name, one in supernet.state_dict().items()}
    about = {"version": "1", "identity": "one", "n_done": "4"} | facts
    save_file(weights | tensors, path, about)
    refused(lambda: checkpoint.load(supernet, optimizer), "must be the checkpoint of a supernet")


# ---------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    "line", ["clock ² 100", "clock 1000000000 100", f"clock {'9' * 5000} 1", "clock -1 1"]
)
def test_cores_of_a_phone_are_small_numbers(line: str) -> None:
    refused(lambda: read_phone(lambda script: f"{line}\n"), "the phone must name its cores")
    phone = read_phone(lambda script: f"{line}\nclock 3 {'9' * 5000}\nmodel \x1b[2Jx\n")
    assert (phone.clocks_khz, phone.cpu) == ({3: 0}, "?[2Jx")


def test_a_temperature_of_many_digits_is_none() -> None:
    assert parse_temperature_c(f"  temperature: {'9' * 5000}\n") is None
    assert parse_temperature_c("  temperature: 311\n") == 31.1


def test_long_lines_of_a_benchmark_cost_no_time() -> None:
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="it prints no line"):
        parse_benchmark(f"count=1 {'x' * 1_000_000}\ncount=1 {'x' * 1_000_000}\n")
    assert time.perf_counter() - begun < 2
    table = "Operator-wise Profiling Info for Regular Benchmark Runs\nnode type,avg_ms,name\n"
    for row in (f"CONV{' ' * 1_000_000}x", "CONV,nan,one", "CONV,1e300,one"):
        with pytest.raises(ValueError, match=r"no line of that table|a time must be from 0"):
            parse_op_profile(table + row)
    with pytest.raises(ValueError, match="no column avg_ms"):
        parse_op_profile(table.replace("node type,avg_ms,name", "node type,name,avg_ms"))


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "1" + "0" * 400, "null", "[]"])
def test_a_round_is_a_number(value: str) -> None:
    line = f'{{"name": "n", "round": {value}, "at_s": 0, "times_ms": [1], "model": "m"}}'
    if value == "1" + "0" * 400:
        line = line.replace('"at_s": 0', f'"at_s": {value}')
    with pytest.raises(ValueError, match=r"no reading|times must be numbers"):
        parse_reading(line)


def phone_that(folder: Path, does: str) -> Adb:
    program = folder / "adb"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{does}\n")
    program.chmod(0o755)
    return Adb(str(program), "PHONE1", 0.0)


def test_a_phone_that_never_stops_printing_is_cut_off(tmp_path: Path) -> None:
    adb = phone_that(tmp_path, "while True: sys.stdout.write('x' * 65536)")
    refused(lambda: adb.shell("true"), f"must print at most {MAX_BYTES:,} bytes")


def test_a_phone_that_says_nothing_is_left(tmp_path: Path) -> None:
    adb = phone_that(tmp_path, "time.sleep(60)")
    begun = time.perf_counter()
    with pytest.raises(LostPhoneError, match="has not answered for 0 s"):
        adb.shell("true", timeout_s=0.3)
    assert time.perf_counter() - begun < 5


# ----------------------------------------------------------------------------------------- images


def test_an_idx_file_is_not_believed(tmp_path: Path) -> None:
    header = struct.pack(">4I", 0x0803, 60_000, 65_535, 65_535)
    for name in ("train-images", "t10k-images"):
        (tmp_path / f"{name}-idx3-ubyte").write_bytes(header)
    for name in ("train-labels", "t10k-labels"):
        (tmp_path / f"{name}-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, 0))
    refused(lambda: fashion_mnist.load(path=str(tmp_path)), "idx files of at most")
    empty = struct.pack(">4I", 0x0803, 0, 28, 28)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(empty)
    refused(lambda: fashion_mnist.load(path=str(tmp_path)), "must hold images")


def png(width: int, height: int) -> bytes:
    """Return the head of an image of that size, whose pixels are missing."""
    import zlib

    content = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    data = zlib.compress(b"\0" * 100)
    body = b"IDAT" + data
    rest = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + rest


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 12\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(9000, 9000), "it has 9000 x 9000 pixels"),
        # Pillow would have Ghostscript run it.
        (EPS, "cannot identify image file"),
    ],
)
def test_images_that_would_cost_much_are_not_decoded(
    tmp_path: Path, own_cache: None, content: bytes, words: str
) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    refused(lambda: image_folder.load(path=str(tmp_path / "pets"), size=8), words)


def test_a_pipe_among_images_is_not_waited_for(tmp_path: Path, own_cache: None) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / "pets" / name)
    refused(lambda: image_folder.load(path=str(tmp_path / "pets"), size=8), "it is no file")


def test_hidden_labels_are_none_to_train_on(tmp_path: Path, own_cache: None) -> None:
    pa, parquet = require("pyarrow", "data"), require("pyarrow.parquet", "data")
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"image": [png(8, 8)] * 4, "label": [-1] * 4}), path)
    refused(lambda: hub.load(path=str(path)), "must have labels to train on")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep decoded images in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
