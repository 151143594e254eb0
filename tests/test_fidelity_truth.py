"""Tables of networks and accuracies: three formats, and what may be wrong with them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nas.arch import Arch
from nas.errors import NasError
from nas.fidelity.truth import read_truth
from nas.space import SearchSpace

SPACE = SearchSpace.load("tiny")
BENCH = Path(__file__).parents[2] / "shared/data/mnasnet_space_imagenet_accuracy.csv"


def chosen(n: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [
        {name: rng.choice(values).item() for name, values in SPACE.choices.items()}
        for _ in range(n)
    ]


def write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def choices_file(path: Path, n: int = 12) -> Path:
    rows = [[number, json.dumps(one), 50 + number] for number, one in enumerate(chosen(n))]
    return write(path, ["trial", "choices", "top1"], rows)


def bench_file(path: Path, n: int, **changed: object) -> Path:
    columns = [f"b{stage}_{key}" for stage in range(7) for key in ("e", "k", "l", "se")]
    rows = list[list[object]]()
    for number in range(n):
        row = {name: 3 if name.endswith("k") else 1 for name in columns}
        # Expansions of the last stages count in base 3: all networks differ.
        for digit in range(4):
            row[f"b{6 - digit}_e"] = (1, 4, 6)[number // 3**digit % 3]
        rows.append([*row.values(), 60 + number / 100])
    if changed:
        rows[3] = [changed.get(name, value) for name, value in zip(columns, rows[3], strict=False)]
        rows[3].append(changed.get("val_top1", 60))
    return write(path, [*columns, "val_top1"], rows)


def test_choices_are_networks_of_the_space(tmp_path: Path) -> None:
    truth = read_truth(choices_file(tmp_path / "mine.csv"), "tiny")
    assert truth.archs == tuple(map(SPACE.arch, chosen(12)))
    assert truth.mean_top1.tolist() == [50 + number for number in range(12)]
    assert (truth.origin, truth.space) == ("mine.csv", SPACE)
    assert truth.top1.shape == (1, len(truth)) == (1, 12)


def test_archs_are_baselines_or_files_beside_the_table(tmp_path: Path) -> None:
    rows: list[tuple[str, float]] = [("mobilenet_v1", 70.6), ("mobilenet_v2", 72.0)]
    for number in range(10):
        SPACE.random(number).save(tmp_path / f"net{number}.yaml")
        rows.append((f"net{number}.yaml", 50.0))
    truth = read_truth(write(tmp_path / "t.csv", ["arch", "top1"], rows))
    assert truth.archs[0] == Arch.load("mobilenet_v1")
    assert truth.archs[5].key() == SPACE.random(3).key()
    assert truth.space is None


def test_the_columns_of_accel_nasbench_are_known(tmp_path: Path) -> None:
    truth = read_truth(bench_file(tmp_path / "bench.csv", 30))
    assert len(truth) == 30
    assert truth.space is not None and truth.space.name == "mnasnet"
    assert truth.mean_top1.max() == pytest.approx(60.29)


def test_a_network_with_several_figures_keeps_their_mean(tmp_path: Path) -> None:
    path = choices_file(tmp_path / "t.csv")
    again = json.dumps(chosen(1)[0])
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow([99, again, 60])
    truth = read_truth(path, "tiny")
    assert len(truth) == 12
    assert truth.mean_top1[0] == 55


@pytest.mark.skipif(not BENCH.exists(), reason="needs the data beside the project")
def test_the_published_table_is_read_whole() -> None:
    truth = read_truth(BENCH)
    assert len(truth) == 3993  # 4,000 rows, seven of which are networks of another row
    assert 40 < truth.mean_top1.min() < truth.mean_top1.max() < 75


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('5,"{}",50', "no choice"),
        ("5,{,50", "choices must be JSON, but are '{'"),
        ("5,[1],50", "must hold `key: value` lines"),
        ("5,{},nan", "top-1 must be a percentage from 0 to 100, but is 'nan'"),
        ("5,{},101", "but is '101'"),
        ("5,{},", "but is ''"),
        ("5", "choices must be JSON"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = choices_file(tmp_path / "t.csv")
    if message.startswith(("top-1", "but is")):
        line = line.replace("{}", '"' + json.dumps(chosen(1)[0]).replace('"', '""') + '"')
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(NasError, match=r"t.csv, line 14: ") as raised:
        read_truth(path, "tiny")
    if message != "no choice":
        assert message in str(raised.value)


def test_wrong_rows_of_accel_nasbench_are_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"line 5: .*b3_|line 5: .*stage4.kernel"):
        read_truth(bench_file(tmp_path / "a.csv", 20, b3_k=4))
    with pytest.raises(NasError, match=r"line 5: top-1 must be"):
        read_truth(bench_file(tmp_path / "b.csv", 20, val_top1="nan"))


def test_wrong_files_say_what_they_need(tmp_path: Path) -> None:
    other = write(tmp_path / "other.csv", ["name", "accuracy"], [["a", 1]])
    few = choices_file(tmp_path / "few.csv", n=9)
    many = choices_file(tmp_path / "many.csv")
    bench = bench_file(tmp_path / "bench.csv", 20)
    (tmp_path / "empty.csv").write_text("")
    cases = {
        (other, None): "must have the columns val_top1 .* but has name, accuracy",
        (tmp_path / "empty.csv", None): "but has none",
        (few, "tiny"): "at least 10 different networks, but holds 9",
        (many, None): r"space must be named. Add space=",
        (bench, "tiny"): "of the space mnasnet, not of tiny",
        (tmp_path / "no.csv", None): "no.csv cannot be read",
    }
    for (path, space), message in cases.items():
        with pytest.raises(NasError, match=message):
            read_truth(path, space)
