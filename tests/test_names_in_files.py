"""Names that are read from files: none leads out of its folder, and none is made or called."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.arch import Arch, Layer
from nas.data.columns import encoded_image
from nas.errors import NasError
from nas.export.script import stem_of as file_stem
from nas.fidelity.truth import read_truth
from nas.paths import inside, stem_of
from nas.proxies.supernet import SupernetProxy
from nas.search.__main__ import main as search
from nas.space import SearchSpace
from nas.training.recipe import Recipe

sys.path.append(str(Path(__file__).parent / "fuzz"))

from readers import Reader, every_reader, kept

NAMES = (
    "../escaped",
    "../../../../tmp/escaped",
    "/tmp/escaped",
    "a/../../b",
    "..",
    ".",
    "~/x",
    "a\\..\\b",
    "C:\\x",
    "x\0y",
    "x" * 5000,
    "*",
    "-rf",
    ".hidden",
    "",
)
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_makes_a_file_name_within_the_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem_of(name)}.yaml"
    path.write_text("x")
    assert path.parent == tmp_path
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert not path.name.startswith(("-", "."))
    assert (
        stem_of("mobilenet_v3-large.x")
        == "mobilenet_v3-large.x"
        == file_stem("mobilenet_v3-large.x", "fp32")
    )


@pytest.mark.parametrize("name", [*NAMES[:5], "x\0y", "link", "link/net.yaml"])
def test_paths_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(NasError, match="must be named by a path within"):
        inside(folder, name)
    assert inside(folder, "below/net.yaml") == folder / "below/net.yaml"


def test_a_table_of_accuracies_names_networks_in_its_folder_alone(tmp_path: Path) -> None:
    arch = Arch.load("mobilenet_v2")
    arch.save(tmp_path / "secret.yaml")
    (tmp_path / "mine").mkdir()
    table = tmp_path / "mine/accuracies.csv"
    for name in ("../secret.yaml", str(tmp_path / "secret.yaml"), "../secret"):
        table.write_text(f"arch,top1\n{name},50\n")
        with pytest.raises(NasError, match=r"line 2: a file must be named by a path within"):
            read_truth(table)
    (tmp_path / "mine/loop.yaml").symlink_to("loop.yaml")
    for name in ("loop.yaml", f"{'x' * 5000}.yaml", "x\0y"):
        table.write_text(f"arch,top1\n{name},50\n")
        with pytest.raises(NasError, match="line 2: "):
            read_truth(table)


@pytest.mark.parametrize("path", ["/etc/hostname", "../outside.png", "a/../../outside.png"])
def test_a_table_of_images_names_files_in_its_folder_alone(path: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    row = {"bytes": None, "path": path}
    with pytest.raises(NasError, match="must be named by a path within"):
        encoded_image(row, "row 0", tmp_path / "data")
    assert encoded_image(row | {"path": "x.png"}, "row 0", tmp_path) == tmp_path / "x.png"
    assert encoded_image(row | {"bytes": b"x"}, "row 0", tmp_path) == b"x"
    unpacked, loaded = tmp_path / "data", tmp_path
    named = {"bytes": None, "path": str(tmp_path / "x.png")}
    assert encoded_image(named, "row 0", unpacked, loaded) == tmp_path / "x.png"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", "x.yaml", "a/b"])
def test_a_space_refers_to_a_network_by_its_name_alone(name: str, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "search_spaces/tiny.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content | {"reference": name}))
    with pytest.raises(NasError, match="must be the name of a network in search_spaces/baselines"):
        SearchSpace.load(path)
    path.write_text(yaml.safe_dump(content | {"reference": "mobilenet_v2"}))
    assert SearchSpace.load(path).reference == "mobilenet_v2"


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b"])
def test_the_checkpoint_of_a_supernet_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    class Digest:
        digest = "0" * 16

    proxy: Any = SupernetProxy.__new__(SupernetProxy)
    proxy.folder, proxy.recipe, proxy.data, proxy.seed = tmp_path, Recipe(), Digest(), 0
    proxy.sandwich = type("Sandwich", (), {"n_random": 1, "is_bare": False})
    path = proxy.file_of(replace(SearchSpace.load("tiny"), name=name))
    assert path.parent == tmp_path
    assert os.path.normpath(path) == str(path)


# ------------------------------------------------------------------------------------- _target_

TARGET = {"_target_": "nas.paths.names", "kind": "x", "suffix": "y", "_partial_": False}
READERS = {
    name: reader
    for name, reader in every_reader().items()
    if reader.form in ("json", "yaml", "lines", "tensors") and name != "recipe"
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the targets that Hydra is asked for, which are not called."""
    asked: list[str] = []

    def resolve(target: Any, full_key: str) -> Callable[..., None]:
        asked.append(str(target))
        return lambda *values, **named: None

    monkeypatch.setattr("hydra._internal.instantiate._instantiate2._resolve_target", resolve)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


def planted(tree: Any) -> Iterator[Any]:
    """Yield copies of a tree, in each of which one mapping is a `_target_`, or holds one."""
    text = json.dumps(tree)
    for number in range(len(list(mappings(tree)))):
        for is_whole in (False, True):
            copy = json.loads(text)
            one = list(mappings(copy))[number]
            if is_whole:
                one.clear()
            one.update(TARGET)
            yield copy


def mappings(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all mappings of a tree."""
    if isinstance(tree, dict):
        yield tree
    for one in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from mappings(one)


def with_target(reader: Reader) -> Iterator[bytes]:
    """Yield the reader's first example with a `_target_` in each place."""
    content = kept(reader.examples)[0]
    if reader.form == "tensors":
        length = int.from_bytes(content[:8], "little")
        for tree in planted(json.loads(content[8 : 8 + length])):
            facts = tree.get("__metadata__", {})
            tree["__metadata__"] = {name: _text(value) for name, value in facts.items()}
            header = json.dumps(tree).encode()
            yield len(header).to_bytes(8, "little") + header + content[8 + length :]
    elif reader.form == "lines":
        lines = content.split(b"\n")
        for number, line in enumerate(lines):
            before, mark, text = line.rpartition(b"@nas-cpu ")
            for tree in planted(json.loads(text)) if text.startswith(b"{") else ():
                changed = before + mark + json.dumps(tree).encode()
                yield b"\n".join([*lines[:number], changed, *lines[number + 1 :]])
    else:
        for tree in planted(yaml.safe_load(content)):
            yield json.dumps(tree).encode()


def _text(value: Any) -> str:
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(json.loads(value) | TARGET)
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("name", READERS)
def test_no_file_makes_what_a_target_names(name: str, tmp_path: Path, made: list[str]) -> None:
    n_tried = 0
    for content in islice(with_target(READERS[name]), 10):
        n_tried += 1
        try:
            READERS[name].try_on(content, tmp_path / "files")
        except NasError as error:
            assert str(error)
    assert n_tried > 0
    assert made == []


@pytest.mark.slow
def test_targets_of_a_command_line_are_made(
    enter: Callable[..., Any], made: list[str], tmp_path: Path
) -> None:
    """The same watch sees a target where the user did write it."""
    ended = enter(search, "+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "n_trials=1")
    assert ended.returncode != 0  # what is watched makes nothing that could be used
    assert made


@pytest.mark.slow
def test_a_run_folder_names_nothing_to_make(enter: Callable[..., Any], tmp_path: Path) -> None:
    words = ("+hardware=pixel_cpu", "space=tiny", "target_ms=0.6", "hydra.run.dir=run")
    assert enter(search, *words, "n_trials=1").returncode == 0
    path = tmp_path / "run/environment.json"
    content = json.loads(path.read_text())
    content["search"]["proxy"] = {"_target_": "pathlib.Path.touch", "_args_": ["escaped"]}
    path.write_text(json.dumps(content))
    ended = enter(search, *words, "n_trials=2")
    assert ended.returncode == 2
    assert "holds a search with proxy" in ended.stderr
    config = tmp_path / "run/.hydra/config.yaml"
    planted_config = yaml.safe_load(config.read_text())
    planted_config["proxy"] = content["search"]["proxy"]
    config.write_text(yaml.safe_dump(planted_config))
    path.unlink()
    (tmp_path / "run/study.journal").unlink()
    assert enter(search, *words, "n_trials=2").returncode == 0
    assert not (tmp_path / "escaped").exists()


def test_an_arch_with_a_target_is_no_arch(tmp_path: Path) -> None:
    arch = Arch(name="a", layers=(Layer.parse("conv k3 3>4 s2 re @8"), Layer.parse("head 4>2 @4")))
    path = tmp_path / "net.yaml"
    arch.save(path)
    path.write_text(path.read_text() + "_target_: os.system\n")
    with pytest.raises(NasError, match="unknown key '_target_'"):
        Arch.load(path)
