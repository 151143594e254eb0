"""Text files: what is refused, and that a failed write changes nothing."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError, shown, unknown
from nas.text import (
    MAX_YAML_BYTES,
    check_keys,
    integer,
    mapping,
    read_json,
    read_text,
    read_yaml,
    short_text,
    write_text,
)

HUGE = 16**6000
"""More digits than Python writes."""
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"

BAD_YAML = {
    "key twice": ("a: 1\nb: 2\na: 3", "'a' is written twice"),
    "key twice, nested": ("a: {b: 1, b: 2}", "'b' is written twice"),
    "key twice, quoted": ("a: 1\n'a': 3", "'a' is written twice"),
    "alias": ("a: &x [1]\nb: *x", "anchors"),
    "anchor": ("a: &x 1", "anchors"),
    "billion laughs": (BOMB, "anchors"),
    "merge key": ("<<: {a: 1}\na: 2", "merge keys"),
    "tag": ("a: !!int ''", "tags"),
    "python tag": ("a: !!python/object/apply:os.system [true]", "tags"),
    "deep nesting": ("a: " + "[" * 5000, "not readable YAML"),
    "deep mapping": ("{a: " * 5000, "not readable YAML"),
    "list as key": ("? [a, b]\n: 1", "unhashable key"),
    "mapping as key": ("? {a: b}\n: 1", "unhashable key"),
    "number as key": ("1: a", "words as keys, but has 1"),
    "yes as key": ("yes: a", "words as keys, but has True"),
    "list": ("- a", "`key: value`"),
    "word": ("a", "`key: value` lines, but holds 'a'"),
    "nothing": ("", "but holds None"),
    "two documents": ("a: 1\n---\nb: 2", "single document"),
    "open bracket": ("a: [1, 2", "not readable YAML"),
    "NUL": ("a: 1\n\0", "not allowed"),
    "no such date": ("a: 2001-99-99", "month"),
    "huge integer": ("a: " + "9" * 5000, "digits"),
    "too large": ("a: " + "x" * MAX_YAML_BYTES, f"at most {MAX_YAML_BYTES:,} bytes"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_bad_yaml_is_one_short_error(tmp_path: Path, case: str) -> None:
    text, reason = BAD_YAML[case]
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(NasError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 600


def test_good_yaml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: [1, 2.5, null, true]\nb: {c: 'd'}\n'<<': e\n")
    assert read_yaml(path) == {"a": [1, 2.5, None, True], "b": {"c": "d"}, "<<": "e"}


def test_many_keys_are_read_in_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("".join(f"k{number}:\n" for number in range(8_000)))
    assert len(read_yaml(path)) == 8_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "finite, but one is NaN"),
        ('{"a": [Infinity]}', "finite, but one is Infinity"),
        ('{"a": -Infinity}', "finite, but one is -Infinity"),
        ('{"a": 1e999}', "finite, but one is 1e999"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ('{"a": 1, "a": 2}', "'a' is written twice"),
        ('{"a": 1', "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("[1]", "but holds [1]"),
        ("", "not readable JSON"),
    ],
)
def test_bad_json_is_one_short_error(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(NasError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 600


def test_good_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"a": [1, 2.5, -1e-3, null], "b": {"a": "NaN"}}')
    assert read_json(path) == {"a": [1, 2.5, -0.001, None], "b": {"a": "NaN"}}


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    with pytest.raises(NasError, match=r"latin.txt must be UTF-8 text, but byte 3 is not"):
        read_text(latin)
    with pytest.raises(NasError, match=r"absent.txt cannot be read: No such file"):
        read_text(tmp_path / "absent.txt")
    for place in (tmp_path, Path("/dev/zero")):
        with pytest.raises(NasError, match=r"must be a file, but is a folder or a device"):
            read_text(place)
    with pytest.raises(NasError, match=r"must be at most 3 bytes, but has 4"):
        read_text(latin, max_bytes=3)


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    write_text(path, "né")
    assert path.read_bytes() == "né".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write_text", "replace"])
@pytest.mark.parametrize(
    ("failure", "error"),
    [(OSError(28, "No space left on device"), NasError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_failed_write_keeps_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: BaseException,
    error: type[BaseException],
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(self: Path, *_: Any, **__: Any) -> None:
        with self.open("w") as file:
            file.write("ne")
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fail)
        with pytest.raises(error):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_places_are_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for path in (tmp_path, tmp_path / "a" / "b", tmp_path / "file" / "b", tmp_path / ("n" * 300)):
        with pytest.raises(NasError, match=r"cannot be written: .+\. Make room or choose"):
            write_text(path, "new")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "value", [True, False, 1.0, "1", None, [1], 0, 11, -1, pytest.param(HUGE, id="huge")]
)
def test_integer_refuses_what_is_none_in_range(value: object) -> None:
    with pytest.raises(NasError, match=r"^here must be an integer from 1 to 10, but is .+\.$"):
        integer(value, "here", 1, 10)


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(-20, 20))
def test_integer_keeps_what_is_in_range(value: int, least: int, most: int) -> None:
    if least <= value <= most:
        assert integer(value, "here", least, most) == value
    else:
        with pytest.raises(NasError):
            integer(value, "here", least, most)


@pytest.mark.parametrize("value", [None, 1, "", "x" * 201, ["x"], "a\nb", "\x1b[2J", "\ud800"])
def test_short_text_refuses_what_is_no_short_text(value: object) -> None:
    with pytest.raises(NasError, match=r"^here must be 1 to 200 printable characters"):
        short_text(value, "here")


def test_short_text_keeps_a_short_text() -> None:
    assert short_text("tiny", "here") == "tiny"


def test_keys_are_checked() -> None:
    check_keys({"a": 1, "c": 1}, "file", ["a"], ["b", "c"])
    with pytest.raises(NasError, match=r"file: unknown key 'kernle'. Did you mean kernel\? Known:"):
        check_keys({"kernle": 1}, "file", ["kernel"])
    with pytest.raises(NasError, match=r"file has no key 'b'; it needs a, b"):
        check_keys({"a": 1}, "file", ["a", "b"])


def test_mapping_shows_what_it_got() -> None:
    assert mapping({"a": 1}, "here") == {"a": 1}
    with pytest.raises(NasError, match=r"here must hold `key: value` lines, but holds 3"):
        mapping(3, "here")


def test_messages_stay_short() -> None:
    for value in ("x" * 10**6, ["x"] * 10**6, HUGE, [HUGE], 1.5):
        assert len(shown(value)) <= 80
        assert len(str(unknown("thing", value, ["a", "b"]))) < 200


def test_unknown_names_the_nearest_and_all() -> None:
    assert str(unknown("fruit", "aple", ["pear", "apple"])) == (
        "unknown fruit 'aple'. Did you mean apple? Known: apple, pear."
    )
    assert str(unknown("fruit", "x", [])) == "unknown fruit 'x'. Known: none."
