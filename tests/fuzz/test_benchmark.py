"""The benchmark that fuzzes: what escapes is found, bounded and made small."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from readers import ROOT, Reader

sys.path.append(str(ROOT / "benchmarks"))

import fuzz

from nas.errors import NasError


@pytest.fixture(autouse=True)
def own_alarm() -> Iterator[None]:
    """Give the alarm back that a case sets."""
    numbers = (signal.SIGALRM, signal.SIGPROF)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def reader(read: Callable[[Path], object]) -> Reader:
    """Return a reader of short texts."""
    examples = [b"first line\nsecond line\n"]
    return Reader(name="made", file="x", form="text", examples=lambda: examples, read=read)


def hang(path: Path) -> None:
    while True:
        try:
            while True:
                pass
        except Exception:
            continue


def sleep(path: Path) -> None:
    time.sleep(60)


def swallow(path: Path) -> None:
    assert bytearray(2**28)


def refuse(path: Path) -> None:
    raise NasError("a file must be good, but is bad. Mend it.")


def fail_on_a_word(path: Path) -> None:
    if b"second" in path.read_bytes():
        raise KeyError(path.name)


def test_what_comes_out_is_told_apart(tmp_path: Path) -> None:
    def outcome(read: Callable[[Path], object]) -> str:
        return fuzz._outcome(reader(read), b"x", tmp_path, 0.1)

    assert outcome(lambda path: None) == ""
    assert outcome(refuse) == "refused"
    assert outcome(hang).startswith("TooLongError at test_benchmark.py:")
    assert outcome(sleep).startswith("TooLongError at test_benchmark.py:")
    assert outcome(lambda path: int(path.name)).startswith("ValueError at test_benchmark.py:")


def test_memory_is_bounded(tmp_path: Path) -> None:
    at = SimpleNamespace(value=-1)
    tally = fuzz._tally(reader(swallow), range(3, 4), at, 0, 5.0, 64, str(tmp_path))
    assert [one.what.split()[0] for one in tally.escapes] == ["MemoryError"]
    assert (tally.n, tally.n_read, at.value) == (1, 0, 3)
    assert bytearray(2**28)  # the bound was the case's alone


def test_what_escapes_is_made_small(tmp_path: Path) -> None:
    one = reader(fail_on_a_word)
    content = b"first line\nsecond line\n" * 3
    what = fuzz._outcome(one, content, tmp_path, 1.0)
    assert fuzz._shrunk(one, content, what, tmp_path, 1.0) == b"second"


def test_a_number_names_a_case() -> None:
    one = reader(refuse)
    assert one.case(fuzz._random("made", 1, 2)) == one.case(Random("1/made/2"))
    chunks = fuzz._chunks({"a": 1.0, "b": 0.5}, 300)
    numbers = [(name, number) for name, own in chunks for number in own]
    assert len(numbers) == len(set(numbers)) == 300
    assert sum(name == "a" for name, _ in numbers) == 200


@pytest.mark.slow
@pytest.mark.long
def test_the_command_finds_nothing_in_a_few_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cases", "60", "--reader", "steps", "--reader", "metrics", "--processes", "1"]
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *words, "--out", str(tmp_path / "out")])
    assert fuzz.main() == 0
    assert "60 cases, 0 escapes" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
