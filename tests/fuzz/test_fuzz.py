"""Hostile files for every reader: a few in each run, more among the slow tests.

`benchmarks/fuzz.py` has a hundred thousand, in processes that bound their time and memory.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import Reader, every_reader, kept

from nas.errors import NasError

READERS = every_reader()
Test = Callable[[], None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what hostile files leave behind out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cases(reader: Reader, folder: Path, n_cases: int, *, is_same: bool) -> Test:
    """Return a test of so many cases, the same ones in each run or others."""

    @settings(
        max_examples=n_cases,
        deadline=None,
        derandomize=is_same,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=False))
    def test(random: Random) -> None:
        try:
            reader.try_on(reader.case(random), folder)
        except NasError as error:
            assert str(error)

    run: Test = test
    return run


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read_and_hostile_ones_are_worded(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for number, content in enumerate(kept(reader.examples)):
        reader.try_on(content, tmp_path / str(number))
    cases(reader, tmp_path / "hostile", 3, is_same=True)()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_hostile_files_are_worded(name: str, tmp_path: Path) -> None:
    cases(READERS[name], tmp_path, round(12 * READERS[name].weight) + 1, is_same=False)()


def test_a_journal_that_no_study_can_take_is_worded(tmp_path: Path) -> None:
    reader = READERS["journal"]
    content = kept(reader.examples)[0]
    nested = b'"system_attrs":{"x":' + b"[" * 480 + b"]" * 480 + b"}"
    assert content.count(b'"system_attrs":{}') > 1
    with pytest.raises(NasError, match="the stored trials are not those of tiny"):
        reader.try_on(content.replace(b'"system_attrs":{}', nested), tmp_path)


def test_a_time_of_many_digits_is_worded(tmp_path: Path) -> None:
    reader = READERS["timed blocks"]
    content = kept(reader.examples)[0]
    assert b"none,1.0,0.5,1\n" in content
    many = content.replace(b"none,1.0,0.5,1\n", b"none," + b"9" * 400 + b",0.5,1\n")
    with pytest.raises(NasError, match=r"too many digits|positive number"):
        reader.try_on(many, tmp_path)


def test_what_is_no_error_of_ours_fails(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        raise KeyError(path.name)

    reader = Reader(name="bad", file="x", form="text", examples=lambda: [b"good"], read=read)
    with pytest.raises(KeyError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hypothesis hints at its database
        cases(reader, tmp_path, 2, is_same=True)()


def test_cases_differ_and_repeat() -> None:
    reader = READERS["metrics"]
    made = {reader.case(Random(seed)) for seed in range(50)}
    assert len(made) > 40
    assert made == {reader.case(Random(seed)) for seed in range(50)}
    assert not made <= set(kept(reader.examples))
