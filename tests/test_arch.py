"""The records: one line and one file a network, equal exactly when the network is."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import ACT_WORDS, MAX_CHANNELS, SE_WORDS, Arch, Layer
from nas.errors import NasError
from nas.paths import names
from nas.space import SearchSpace

BASELINES = names("search_spaces/baselines", ".yaml")
SPACES = names("search_spaces", ".yaml")
LINES = (
    "conv k3 3>16 s2 hs @32",
    "mb k3 16>48>16 s1 se8 re @16",
    "conv k1 16>32 s1 re @16",
    "head 32>64>10 hs @16",
)
CHANNELS = st.integers(1, 600)


def arch_of(*lines: str, name: str = "net") -> Arch:
    return Arch(name=name, layers=tuple(map(Layer.parse, lines)))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Draw a valid layer of any op."""
    op = draw(st.sampled_from(["conv", "separable", "mbconv", "head"]))
    out = draw(CHANNELS)
    words: dict[str, Any] = {"size": draw(st.integers(1, 224)), "out_channels": out}
    words["in_channels"] = draw(st.just(out) | CHANNELS)
    words["act"] = draw(st.sampled_from(list(ACT_WORDS)))
    if op == "head":
        words["mid_channels"] = draw(st.just(0) | CHANNELS)
        words["act"] = words["act"] if words["mid_channels"] else "none"
        return Layer(op=op, **words)
    words["kernel"] = draw(st.sampled_from([1, 3, 5, 7]))
    words["stride"] = draw(st.integers(1, 4))
    if op == "mbconv":
        words["mid_channels"] = draw(CHANNELS)
        words["se"] = draw(st.just(0) | CHANNELS)
        words |= {name: draw(st.booleans()) for name in ("residual", "linear")}
        words["se_at"] = draw(st.sampled_from(list(SE_WORDS)))
    return Layer(op=op, **words)


@pytest.mark.parametrize("name", SPACES)
def test_layers_of_spaces_read_back(name: str) -> None:
    for layer in SearchSpace.load(name).layers():
        assert Layer.parse(str(layer)) == layer


@pytest.mark.parametrize("name", BASELINES)
def test_layers_of_baselines_read_back(name: str) -> None:
    for layer in Arch.load(name).layers:
        assert Layer.parse(str(layer)) == layer


@given(layers())
def test_any_layer_reads_back(layer: Layer) -> None:
    assert Layer.parse(str(layer)) == layer
    assert hash(Layer.parse(str(layer))) == hash(layer)
    assert len(str(layer)) <= 200


@given(layers(), layers())
def test_layers_are_equal_when_their_lines_are(one: Layer, other: Layer) -> None:
    assert (one == other) == (str(one) == str(other))


@given(layers(), st.randoms())
def test_word_order_does_not_matter(layer: Layer, random: Any) -> None:
    op, *words = str(layer).split()
    random.shuffle(words)
    assert Layer.parse(" ".join([op, *words])) == layer


def test_residual_is_stored_where_it_is_possible() -> None:
    block = Layer.parse("mb k3 16>48>16 s1 re @16")
    assert block.residual
    assert not replace(block, residual=False).residual
    assert not Layer.parse("mb k3 16>48>24 s1 re @16").residual
    assert not Layer.parse("mb k3 16>48>16 s2 re @16").residual
    assert Layer.parse("mb k3 16>48>24 s1 nores re @16") == replace(block, out_channels=24)


def test_linear_is_stored_where_there_is_an_activation() -> None:
    assert not Layer.parse("mb k3 16>48>16 s1 re nonlinear @16").linear
    assert Layer.parse("mb k3 16>48>16 s1 none nonlinear @16").linear


def test_place_of_squeeze_is_stored_where_there_is_one() -> None:
    block = Layer.parse("mb k3 16>48>16 s1 se8 re @16")
    assert block.se_at == "depthwise"
    assert str(replace(block, se_at="expansion")) == "mb k3 16>48>16 s1 se8 seexp re @16"
    assert replace(block, se=0, se_at="projection") == replace(block, se=0)
    with pytest.raises(NasError, match=r"unknown se_at 'depth'\. Did you mean depthwise"):
        replace(block, se_at="depth")


EQUAL = [
    (LINES[0], "conv s2 @32 hs 3>16 k3"),
    (LINES[0], "conv  k03  3>16 s2\ths @032 "),
    (LINES[0], "conv k3 3>16 s2 se0 hs @32"),
    (LINES[0], "conv k3 3>0>16 s2 hs nores @32"),
    (LINES[1], "mb se8 re @16 16>48>16 s1 k3"),
    (LINES[3], "head hs @16 k1 s1 32>64>10"),
]


@pytest.mark.parametrize(("line", "other"), EQUAL)
def test_key_ignores_how_a_layer_is_written(line: str, other: str) -> None:
    changed = [other if line == one else one for one in LINES]
    assert arch_of(*changed, name="another").key() == arch_of(*LINES).key()


def test_key_ignores_name_scaling_and_key_order(tmp_path: Path) -> None:
    arch = arch_of(*LINES)
    path = tmp_path / "net.yaml"
    content = {"layers": list(LINES), "num_classes": 10, "resolution": 32, "name": "b"}
    path.write_text(yaml.safe_dump(content | {"version": 1, "scaling": "mnasnet"}))
    assert Arch.load(path).key() == arch.key() == replace(arch, name="c").key()


def test_key_ignores_explicit_defaults() -> None:
    short = Layer(op="conv", size=32, in_channels=3, out_channels=16, act="relu")
    words: dict[str, Any] = {
        "mid_channels": 0,
        "kernel": 1,
        "stride": 1,
        "se": 0,
        "residual": False,
    }
    long = Layer(op="conv", size=32, in_channels=3, out_channels=16, act="relu", **words)
    head = Layer(op="head", size=32, in_channels=16, out_channels=10)
    keys = {Arch(name="net", layers=(layer, head)).key() for layer in (short, long)}
    assert len(keys) == 1


CHANGED = {
    "op": {0: "conv k3 3>16 s2 hs @32", 2: "sep k1 16>32 s1 re @16"},
    "size": dict(enumerate(line.replace("@32", "@31") for line in LINES)),
    "in_channels": {0: "conv k3 1>16 s2 hs @32"},
    "mid_channels": {1: "mb k3 16>40>16 s1 se8 re @16"},
    "out_channels": {3: "head 32>64>11 hs @16"},
    "kernel": {1: "mb k5 16>48>16 s1 se8 re @16"},
    "stride": {2: "conv k1 16>32 s2 re @16", 3: "head 32>64>10 hs @8"},
    "se": {1: "mb k3 16>48>16 s1 se16 re @16"},
    "act": {1: "mb k3 16>48>16 s1 se8 r6 @16"},
    "residual": {1: "mb k3 16>48>16 s1 se8 nores re @16"},
    "linear": {1: "mb k3 16>48>16 s1 se8 re nonlinear @16"},
    "se_at": {1: "mb k3 16>48>16 s1 se8 seproj re @16"},
}


def test_key_sees_every_field() -> None:
    assert set(CHANGED) == {field.name for field in fields(Layer) if field.init}
    archs = [arch_of(*LINES)]
    for changes in CHANGED.values():
        archs.append(arch_of(*(changes.get(number, line) for number, line in enumerate(LINES))))
    assert len({arch.key() for arch in archs}) == len(archs)


def test_key_sees_the_order_of_layers() -> None:
    one, other = "conv k1 16>16 s1 re @16", "conv k3 16>16 s1 re @16"
    assert arch_of(LINES[0], one, other, *LINES[2:]).key() != (
        arch_of(LINES[0], other, one, *LINES[2:]).key()
    )


def test_key_is_pinned() -> None:
    # Journals and trials.csv of old runs hold these keys.
    assert Arch.load("mobilenet_v3_small").key() == "123f98c05ddc24ab"


WRONG_LINES = {
    "": ("unknown op in layer ''", "Known: conv, head, mb, sep"),
    "mbb k3 8>8>8 s1 re @8": ("'mbb'", "Did you mean mb?"),
    "mb k3 8>8>8 s1 re": ("does not give size", "write it like"),
    "mb k3 s1 re @8": ("does not give out_channels", "write it like"),
    "mb k3 8>8>8 s1 @8": ("does not give act", "write it like"),
    "mb 8>8>8 s1 re @8": ("does not give kernel", "write it like"),
    "mb k3 8>8>8 re @8": ("does not give stride", "write it like"),
    "mb k3 8>8>8 s1 re re @8": ("gives act twice, at 're'", "Keep one"),
    "mb k3 k5 8>8>8 s1 re @8": ("gives kernel twice, at 'k5'", "Keep one"),
    "mb k3 8>8>8 8>8 s1 re @8": ("gives in_channels twice, at '8>8'", "Keep one"),
    "mb k3 8>8>8 s1 ree @8": ("unknown word 'ree'", "write it like"),
    "mb k3 8>8>8>8 s1 re @8": ("unknown word '8>8>8>8'", "write it like"),
    "mb k3 8>>8 s1 re @8": ("unknown word '8>>8'", "write it like"),
    "mb k3 8>-8>8 s1 re @8": ("unknown word '8>-8>8'", "write it like"),
    "mb k3.0 8>8>8 s1 re @8": ("unknown word 'k3.0'", "write it like"),
    "mb k 8>8>8 s1 re @8": ("unknown word 'k'", "write it like"),
    "mb 3k 8>8>8 s1 re @8": ("unknown word '3k'", "write it like"),
    "mb k٣ 8>8>8 s1 re @8": ("unknown word", "write it like"),
    "mb k² 8>8>8 s1 re @8": ("unknown word", "write it like"),
    "mb k3 8>8>8 s1 re @8 " + "x" * 200: ("one short line",),
    "mb k3 8>1234567>8 s1 re @8": ("unknown word", "write it like"),
    "mb k3 8>65537>8 s1 re @8": ("mid_channels", "from 0 to 65536, but is 65537"),
    "mb k3 0>8>8 s1 re @8": ("in_channels", "from 1 to 65536, but is 0"),
    "mb k3 8>8>0 s1 re @8": ("out_channels", "from 1 to 65536, but is 0"),
    "mb k3 8>8>8 s0 re @8": ("stride", "from 1 to 4, but is 0"),
    "mb k33 8>8>8 s1 re @8": ("kernel", "from 1 to 31, but is 33"),
    "mb k3 8>8>8 s1 re @0": ("size", "from 1 to 8192, but is 0"),
    "mb k3 8>8>8 s1 re @9000": ("size", "from 1 to 8192, but is 9000"),
    "mb k4 8>8>8 s1 re @8": ("kernel must be odd, but is 4",),
    "mb k3 8>0>8 s1 re @8": ("mid_channels of an mbconv must be at least 1, but is 0",),
    "mb k3 8>8 s1 re @8": ("mid_channels of an mbconv must be at least 1, but is 0",),
    "conv k3 8>8>8 s1 re @8": ("a layer conv has no mid_channels, but got 8",),
    "sep k3 8>8>8 s1 re @8": ("a layer separable has no mid_channels, but got 8",),
    "conv k3 8>8 s1 se8 re @8": ("se and linear=False belong to an mbconv, not to a layer conv",),
    "sep k3 8>8 s1 nonlinear re @8": ("belong to an mbconv, not to a layer separable",),
    "head 8>8 se4 @8": ("belong to an mbconv, not to a layer head",),
    "head k3 8>8 @8": ("a head has kernel 1 and stride 1, not 3, 1",),
    "head s2 8>8 @8": ("a head has kernel 1 and stride 1, not 1, 2",),
    "head 8>8 hs @8": ("a head without hidden layer has no activation, but got hswish",),
}


@pytest.mark.parametrize("line", WRONG_LINES)
def test_wrong_line_is_an_error(line: str) -> None:
    with pytest.raises(NasError) as caught:
        Layer.parse(line)
    for part in WRONG_LINES[line]:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [None, 3, ["mb"], {"mb": 1}, 3.5])
def test_line_must_be_text(value: Any) -> None:
    with pytest.raises(NasError, match="a layer must be one short line of text, but is"):
        Layer.parse(value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"op": "pool"}, "unknown op 'pool'"),
        ({"act": "swish"}, "unknown activation 'swish'. Did you mean hswish"),
        ({"size": 7.0}, "size of a layer mbconv must be an integer from 1 to 8192, but is 7.0"),
        ({"kernel": True}, "kernel of a layer mbconv must be an integer"),
        ({"se": -1}, "se of a layer mbconv must be an integer from 0 to 65536, but is -1"),
        ({"stride": 5}, "stride of a layer mbconv must be an integer from 1 to 4, but is 5"),
    ],
)
def test_wrong_field_is_an_error(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(NasError) as caught:
        replace(Layer.parse(LINES[1]), **change)
    assert reason in str(caught.value)


WRONG_ARCHS = {
    "one layer": ((LINES[3],), "an arch must have 2 to 1000 layers, but net has 1"),
    "too many": (
        (LINES[0], *["conv k1 16>16 s1 re @16"] * 999, "head 16>10 @16"),
        "an arch must have 2 to 1000 layers, but net has 1001",
    ),
    "no head": (LINES[:3], "the last layer of net, and no other, must be a head"),
    "two heads": ((*LINES, "head 10>10 @1"), "and no other, must be a head"),
    "head first": ((LINES[3], "conv k1 10>10 s1 re @1"), "the last layer of net"),
    "channels": ((LINES[0], *LINES[2:3], "head 31>10 @16"), "layer 3 of net must take 32 channels"),
    "size": ((LINES[0], "head 16>10 @17"), "16 channels at 16 px, but is `head 16>10 @17`"),
}


@pytest.mark.parametrize("case", WRONG_ARCHS)
def test_wrong_arch_is_an_error(case: str) -> None:
    lines, reason = WRONG_ARCHS[case]
    with pytest.raises(NasError) as caught:
        arch_of(*lines)
    assert reason in str(caught.value)


def test_wrong_scaling_is_an_error() -> None:
    with pytest.raises(NasError, match=r"unknown scaling 'mobilenet'.*mobilenet_v3"):
        replace(arch_of(*LINES), scaling="mobilenet")


@pytest.mark.parametrize("name", BASELINES)
def test_saved_arch_loads_equal(name: str, tmp_path: Path) -> None:
    arch = Arch.load(name)
    arch.save(tmp_path / "net.yaml")
    assert Arch.load(tmp_path / "net.yaml") == arch


@pytest.mark.slow
@given(
    st.text(
        st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1
    ).filter(lambda name: len(name) <= 200)
)
@settings(deadline=None)
def test_any_name_that_can_be_shown_survives_a_file(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = tmp_path_factory.mktemp("arch") / "net.yaml"
    arch = arch_of(*LINES, name=name)
    arch.save(path)
    assert Arch.load(path) == arch


@pytest.mark.parametrize("name", BASELINES)
def test_truncated_file_is_refused_or_equal(name: str, tmp_path: Path) -> None:
    arch = Arch.load(name)
    path = tmp_path / "net.yaml"
    arch.save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 10):
        path.write_bytes(whole[:end])
        try:
            assert Arch.load(path) == arch
        except NasError as error:
            assert str(path) in str(error)


WRONG_FILES: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"version": 2}, "must have version 1, but has 2"),
    "name": ({"name": 1}, "name must be 1 to 200 printable characters in quotes, but is 1"),
    "resolution": ({"resolution": 64}, "says resolution 64, but its layers make it 32"),
    "num_classes": ({"num_classes": "10"}, "says num_classes '10', but its layers make it 10"),
    "layers": ({"layers": "conv"}, "must be a list with one line a layer"),
    "layer": ({"layers": [*LINES[:3], 7]}, "a layer must be one short line of text, but is 7"),
    "scaling": ({"scaling": "v3"}, "unknown scaling 'v3'"),
    "extra": ({"width": 1}, "unknown key 'width'"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_file_is_an_error_that_names_it(case: str, tmp_path: Path) -> None:
    change, reason = WRONG_FILES[case]
    path = tmp_path / "net.yaml"
    arch_of(*LINES).save(path)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(NasError) as caught:
        Arch.load(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", ["version", "name", "resolution", "num_classes", "layers"])
def test_missing_key_is_an_error(key: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    arch_of(*LINES).save(path)
    content = yaml.safe_load(path.read_text())
    del content[key]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(NasError, match=f"has no key '{key}'; it needs version"):
        Arch.load(path)


def test_unknown_baseline_lists_the_known() -> None:
    with pytest.raises(NasError, match=r"'mobilenet_v4'.*mobilenet_v3_small.*shallow_mobilenet"):
        Arch.load("mobilenet_v4")


def test_other_number_of_classes() -> None:
    arch = arch_of(*LINES)
    assert arch.with_num_classes(10) == arch
    assert arch.with_num_classes(7).num_classes == 7
    assert arch.with_num_classes(7).layers[:-1] == arch.layers[:-1]
    for wrong in (0, -1, MAX_CHANNELS + 1):
        with pytest.raises(NasError, match=f"must be an integer from 1 to .* but is {wrong}"):
            arch.with_num_classes(wrong)


def test_properties() -> None:
    arch = arch_of(*LINES)
    assert (arch.resolution, arch.num_classes) == (32, 10)
    assert [layer.out_size for layer in arch.layers] == [16, 16, 16, 1]
    assert str(arch).splitlines() == ["net @32", *LINES]
