"""The check of a table: figures by hand, ranks as SciPy has them, and files that load equal."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nas.errors import NasError
from nas.latency import agreement
from nas.latency.agreement import Agreement, kendall_tau, spearman_rho
from nas.latency.check import COLUMNS, Check, CheckedNetwork, check_path
from nas.latency.verdict import verdict

# 10, 20, 30 and 40 ms were measured.
PREDICTED = (10.0, 20.8, 28.8, 48.0)
PAIRS = st.lists(st.tuples(*2 * [st.integers(0, 12)]), min_size=2, max_size=60)


def network(number: int, predicted_ms: float, family: str = "unseen") -> CheckedNetwork:
    return CheckedNetwork(
        name=f"{family} {number}",
        family=family,
        predicted_ms=predicted_ms,
        measured_ms=10.0 * number,
        first_ms=10.0 * number * (1.02 if number % 2 else 0.98),
        second_ms=10.0 * number,
    )


CHECK = Check(
    networks=(
        *(network(number, ms) for number, ms in enumerate(PREDICTED, start=1)),
        network(1, 9.0, "baseline"),
        network(2, 19.0, "baseline"),
    )
)


@given(PAIRS)
def test_tau_and_rho_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(kendall_tau(first, second))
        assert math.isnan(spearman_rho(first, second))
        return
    tau = stats.kendalltau(first, second).statistic
    rho = stats.spearmanr(first, second).statistic
    assert kendall_tau(first, second) == pytest.approx(tau, abs=1e-12)
    assert spearman_rho(first, second) == pytest.approx(rho, abs=1e-12)


def test_tau_of_many_values_is_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [(7 * n) % 31 for n in range(50)], [(11 * n) % 17 for n in range(50)]
    monkeypatch.setattr(agreement, "_BLOCK", 7)
    assert kendall_tau(*values) == pytest.approx(stats.kendalltau(*values).statistic)


def test_errors_are_those_by_hand() -> None:
    # 0, +4, -4 and +20 per cent.
    unseen = CHECK.unseen
    assert unseen is not None
    assert unseen.n == 4
    assert unseen.mean_error_percent == pytest.approx(28 / 4)
    assert unseen.bias_percent == pytest.approx(20 / 4)
    assert unseen.within_5_percent == 75
    assert unseen.within_10_percent == 75
    assert unseen.worst_percent == pytest.approx(20)
    assert unseen.tau == 1


def test_baselines_and_repeats_are_apart() -> None:
    baselines, repeat = CHECK.baselines, CHECK.repeat_unseen
    assert baselines is not None and repeat is not None
    assert baselines.n == 2
    assert baselines.mean_error_percent == pytest.approx(7.5)
    assert baselines.worst_percent == pytest.approx(10)
    assert repeat.n == 4
    assert repeat.mean_error_percent == pytest.approx(2)
    assert repeat.bias_percent == pytest.approx(0, abs=1e-9)
    assert CHECK.repeat_baselines is not None
    assert CHECK.repeat_baselines.n == 2


def test_what_was_not_checked_is_not_spoken_of() -> None:
    nothing = Check(networks=())
    assert nothing.unseen is None and nothing.repeat_baselines is None
    assert nothing.header() == {}
    assert nothing.verdict() == ""
    one = Check(networks=CHECK.networks[:1])
    assert "check_tau" not in one.header()
    assert one.verdict().startswith("On 1 network it had not seen, the table errs by 0.0 % on av")
    assert "tau" not in one.verdict()
    assert Agreement.of([], []) is None


def test_header_has_the_figures_as_text() -> None:
    assert CHECK.header() == {
        "check_networks": "4",
        "check_mean_error_percent": "7.0",
        "check_bias_percent": "5.0",
        "check_within_5_percent": "75.0",
        "check_within_10_percent": "75.0",
        "check_worst_percent": "20.0",
        "check_tau": "1.000",
        "check_repeat_mean_error_percent": "2.0",
        "check_repeat_tau": "1.000",
        "check_baselines": "2",
        "check_baselines_mean_error_percent": "7.5",
        "check_baselines_worst_percent": "10.0",
    }


def test_verdict_is_made_of_the_header_alone() -> None:
    said = CHECK.verdict()
    assert said == verdict({**CHECK.header(), "device": "host"})
    assert said.startswith(
        "On 4 networks it had not seen, the table errs by 7.0 % on average (75 % within 5 %) and "
        "orders them with Kendall's tau 1.00; the machine itself repeats within 2.0 % and tau 1.00."
    )


def test_baselines_alone_are_spoken_of() -> None:
    alone = Check(networks=CHECK.networks[4:])
    assert alone.verdict() == "On 2 hand-designed networks, the table errs by 7.5 % on average."


GOOD = {
    "check_networks": "60",
    "check_mean_error_percent": "1.8",
    "check_bias_percent": "0.4",
    "check_repeat_mean_error_percent": "1.0",
}


@pytest.mark.parametrize(
    ("worse", "advice"),
    [
        ({}, "."),
        ({"check_repeat_mean_error_percent": "9.0"}, "measure again with fresh=true."),
        (
            {"check_bias_percent": "-7.0", "check_mean_error_percent": "7.5"},
            "ms are 7.0 % too low as a whole: ranks hold",
        ),
        (
            {"check_bias_percent": "7.0", "check_mean_error_percent": "7.5"},
            "ms are 7.0 % too high",
        ),
        ({"check_mean_error_percent": "8.0"}, "closer to each other than that"),
    ],
)
def test_a_bad_check_comes_with_advice(worse: Mapping[str, str], advice: str) -> None:
    said = verdict({**GOOD, **worse})
    assert advice in said
    assert (said.count(". ") == 0) == (advice == ".")


@pytest.mark.parametrize("value", ["", "many", "nan"])
def test_a_header_that_is_no_check_says_nothing(value: str) -> None:
    assert verdict({"device": "host", **GOOD, "check_networks": value}) == ""
    assert verdict({}) == ""


def test_saved_check_loads_equal(tmp_path: Path) -> None:
    path = check_path(tmp_path / "host_cpu.csv")
    assert path.name == "host_cpu.check.csv"
    CHECK.save(path, {"device": "host_cpu"})
    assert Check.load(path) == CHECK
    assert path.read_text().startswith("# version: 1\n# device: host_cpu\nname,family,")


ROW = "net,unseen,1.5,1.4,1.3,1.5"
BROKEN = {
    "family": (ROW.replace("unseen", "known"), "line 3: family must be unseen or baseline"),
    "NaN": (ROW.replace("1.4", "nan"), "line 3: measured_ms must be a finite number"),
    "zero": (ROW.replace("1.3", "0"), "line 3: first_ms must be above 0"),
    "text": (ROW.replace("1.3", "quick"), "line 3: first_ms must be a finite number"),
    "cells": (ROW + ",1", "line 3 must have 6 cells, but has 7"),
    "twice": (f"{ROW}\n{ROW}", "line 4: a network may have one row, but 'net'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_one_error_that_names_the_line(case: str, tmp_path: Path) -> None:
    rows, reason = BROKEN[case]
    path = tmp_path / "a.check.csv"
    path.write_text("\n".join(["# version: 1", ",".join(COLUMNS), rows, ""]))
    with pytest.raises(NasError, match=r"a\.check\.csv, line") as caught:
        Check.load(path)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["", "# version: 1\n", "# version: 1\nname,ms\na,1\n"])
def test_another_file_is_no_check(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.check.csv"
    path.write_text(text)
    with pytest.raises(NasError, match="must"):
        Check.load(path)
