"""What predicts: tables, cost models, surrogates, published figures, raw times."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from readers import Reader, files

from nas.arch import Arch
from nas.fidelity.truth import read_truth
from nas.latency.__main__ import _modelled_header
from nas.latency.answers import answers
from nas.latency.check import Check
from nas.latency.correction import Correction
from nas.latency.cost_model import CostModel
from nas.latency.hardware_tables import hardware_of, measuring_options
from nas.latency.raw_times import read_raw_times
from nas.latency.readings import anchor_drift_percent, measurements
from nas.latency.runner.timing import ANCHOR
from nas.latency.settings import HardwareSettings
from nas.latency.summary import summary
from nas.latency.table import LatencyTable
from nas.latency.timed_blocks import COLUMNS, DEVICES, read_timed_blocks
from nas.paths import names
from nas.proxies.accuracy_data import read_bench, read_published
from nas.proxies.surrogate import Surrogate
from nas.space import SearchSpace

SMALL = Arch.load("mobilenet_v3_small")
SPACE = SearchSpace.load("tiny")
N_KEPT = 20
"""Landmarks of a surrogate small enough to be read thousands of times."""
PIXEL = HardwareSettings(
    name="pixel_cpu", description="", table="", device="modelled", runtime="", threads=1, dtype=""
)


def tables() -> Sequence[bytes]:
    """Return tables of a few rows."""
    return files("latency_tables/*_cpu.csv", 70)


def checks() -> Sequence[bytes]:
    """Return checks of tables."""
    return files("latency_tables/*.check.csv")


def cost_models() -> Sequence[bytes]:
    """Return cost models with a few bounds."""
    found = [json.loads(content) for content in files("latency_tables/cost_models/*.json")]
    for one in found:
        one["bounds"] = one["bounds"][:20]
    return [json.dumps(one, indent=1).encode() for one in found]


def surrogates() -> Sequence[bytes]:
    """Return a surrogate of a few landmarks."""
    (content,) = files("nas/proxies/imagenet_surrogate.json")
    one = json.loads(content)
    for name in ("weights", "landmarks", "shrink"):
        one[name] = one[name][:N_KEPT]
    return [json.dumps(one).replace("], ", "],\n").encode()]


def blocks() -> Sequence[bytes]:
    """Return a table of timed blocks."""
    columns = [*COLUMNS, *DEVICES.values()]
    kinds = (
        "mbconv,56,24,40,2,5,1,3,relu,none",
        "mbconv,28,40,40,1,3,0,6,hswish,identity",
        "mbconv_transds,28,40,80,2,3,0,6,relu,avgpool2+conv1x1",
        "stem_conv,224,3,16,2,3,0,1,hswish,none",
        "last_stage,7,160,1280,1,1,0,6,hswish,none",
    )
    rows = [f"{kinds[n % len(kinds)]},{1 + n / 7},{n + 0.5},{2 * n + 1}" for n in range(110)]
    return ["\n".join([",".join(columns), *rows, ""]).encode()]


def published() -> Sequence[bytes]:
    """Return a table of published models, as this reads it."""
    rows = ("V1,1.0,224,fp32,70.6", "V3-Large,0.75,224,fp32,73.3", "MnasNet-A1,1,192,fp32,74")
    return ["\n".join(["model,width,resolution,precision,top1", *rows, ""]).encode()]


def bench() -> Sequence[bytes]:
    """Return a table like Accel-NASBench's."""
    names = [f"b{stage}_{key}" for stage in range(7) for key in ("e", "k", "l", "se")]
    rows = [
        [(1, 4, 6)[n % 3], 3, 1, n // 3 % 2] * 6 + [1, 3, 1 + n // 6, 0, 60 + n] for n in range(12)
    ]
    lines = [",".join(map(str, row)) for row in rows]
    return ["\n".join([",".join([*names, "val_top1"]), *lines, ""]).encode()]


def truths() -> Sequence[bytes]:
    """Return tables of networks and accuracies, in all three formats."""
    lines = [f"{name},{50 + n}" for n, name in enumerate(names("search_spaces/baselines", ".yaml"))]
    archs = "\n".join(["arch,top1", *lines, ""])
    rng = np.random.default_rng(0)
    rows = ["choices,top1"]
    for number in range(12):
        chosen = {name: rng.choice(values).item() for name, values in SPACE.choices.items()}
        quoted = json.dumps(chosen).replace('"', '""')
        rows.append(f'"{quoted}",{number}')
    return [archs.encode(), "\n".join([*rows, ""]).encode(), *bench()]


def raw_times() -> Sequence[bytes]:
    """Return raw times of two layers and the anchor."""
    lines = ['{"version": "1", "device": "here"}']
    for number in range(4):
        for name in (ANCHOR, "mb k3 8>16>8 s1 re @8", "net"):
            lines.append(
                json.dumps({"name": name, "round": number, "at_s": number, "times_ms": [1.5, 2]})
            )
    return ["\n".join([*lines, ""]).encode()]


def read_table(path: Path) -> None:
    """Load a table and do with it what the commands do."""
    table = LatencyTable.load(path)
    list(summary(table))
    list(answers(table))
    measuring_options(hardware_of(table), table, "mine")
    if "correction" in table.header:
        correction = Correction.parse(table.header["correction"])
        assert np.isfinite([correction.apply(layer, 1.0) for layer in table.rows]).all()
    arch = Arch(name="two", layers=SMALL.layers)
    assert table.missing(arch) or np.isfinite(table.predict_ms(arch))
    table.save(path.with_name("saved.csv"))
    LatencyTable.load(path.with_name("saved.csv"))


def read_check(path: Path) -> None:
    """Load a check, and say what it tells."""
    found = Check.load(path)
    _ = found.header(), found.verdict()


def read_cost_model(path: Path) -> None:
    """Load a cost model and ask it."""
    model = CostModel.load(path)
    assert np.isfinite(model.predict_many_ms(SMALL.layers)).all()
    _modelled_header(PIXEL, model)


def read_surrogate(path: Path) -> None:
    """Load a surrogate and ask it."""
    surrogate = Surrogate.load(path)
    assert np.isfinite(surrogate.predict([SMALL])).all()
    surrogate.range_violations(SMALL)


def read_raw(path: Path) -> None:
    """Read raw times and look at their measurements."""
    readings = read_raw_times(path, {"device": "here"})
    anchor_drift_percent(readings)
    for measured in measurements(readings).values():
        _ = measured.ms, measured.is_settled


TABLE_READERS = (
    Reader(name="table", file="mine.csv", form="csv", examples=tables, read=read_table),
    Reader(name="check", file="mine.check.csv", form="csv", examples=checks, read=read_check),
    Reader(
        name="cost model",
        file="mine.json",
        form="json",
        examples=cost_models,
        read=read_cost_model,
        weight=0.5,
    ),
    Reader(
        name="surrogate", file="mine.json", form="json", examples=surrogates, read=read_surrogate
    ),
    Reader(
        name="timed blocks", file="data.csv", form="csv", examples=blocks, read=read_timed_blocks
    ),
    Reader(
        name="published top-1",
        file="p.csv",
        form="csv",
        examples=published,
        read=read_published,
        weight=0.5,
    ),
    Reader(name="bench", file="bench.csv", form="csv", examples=bench, read=read_bench, weight=0.1),
    Reader(
        name="accuracies",
        weight=0.4,
        file="accuracies.csv",
        form="csv",
        examples=truths,
        read=lambda path: read_truth(path, None if b"choices" not in path.read_bytes() else "tiny"),
    ),
    Reader(name="raw times", file="t.raw.jsonl", form="lines", examples=raw_times, read=read_raw),
)
