"""Names and paths: the user's folder comes before the shipped one."""

from pathlib import Path

import pytest

from nas.errors import NasError
from nas.paths import SHIPPED, find, folders, names

SPACE = "search_spaces"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's own folder of spaces, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / SPACE
    folder.mkdir()
    return folder


def test_shipped_files_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(SPACE, "tiny", ".yaml") == SHIPPED / SPACE / "tiny.yaml"


def test_user_folder_comes_first(own: Path) -> None:
    (own / "tiny.yaml").write_text("mine")
    assert find(SPACE, "tiny", ".yaml") == own / "tiny.yaml"
    assert find(SPACE, "mnasnet", ".yaml") == SHIPPED / SPACE / "mnasnet.yaml"


def test_names_join_both_folders(own: Path) -> None:
    (own / "tiny.yaml").write_text("mine")
    (own / "mine.yaml").write_text("mine")
    shipped = {path.stem for path in (SHIPPED / SPACE).glob("*.yaml")}
    assert names(SPACE, ".yaml") == sorted(shipped | {"mine"})


def test_checkout_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED)
    assert folders(SPACE) == [SHIPPED / SPACE]


def test_path_is_taken_as_it_is(own: Path) -> None:
    (own / "mine.yaml").write_text("mine")
    assert find(SPACE, own / "mine.yaml", ".yaml") == own / "mine.yaml"
    assert find(SPACE, f"{SPACE}/mine.yaml", ".yaml") == Path(SPACE) / "mine.yaml"


@pytest.mark.parametrize("name", ["absent.yaml", "a/b", "a/b.yaml", "a/" + "n" * 300, "tiny.yaml"])
def test_missing_path_is_an_error(own: Path, name: str) -> None:
    with pytest.raises(NasError, match=r"must be a file, but there is none"):
        find(SPACE, name, ".yaml")


@pytest.mark.parametrize("name", ["", "tinny", "..", "n" * 300, "tiny\n", "0.75"])
def test_unknown_name_lists_the_known(own: Path, name: str) -> None:
    with pytest.raises(NasError, match=r"unknown name in search_spaces/ .*mnasnet.*tiny"):
        find(SPACE, name, ".yaml")


def test_folder_is_no_file(own: Path) -> None:
    (own / "folder.yaml").mkdir()
    (own / "loop.yaml").symlink_to(own / "loop.yaml")
    for name in ("folder", "loop"):
        assert name not in names(SPACE, ".yaml")
        with pytest.raises(NasError, match=r"unknown name .*Known: mnasnet"):
            find(SPACE, name, ".yaml")
