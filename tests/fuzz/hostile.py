"""Broken and hostile files, made of good ones.

All chance comes from a `random.Random`: a seed names a case, and hypothesis, which hands out such
objects too, can shrink one.
"""

import csv
import io
import json
import re
import struct
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import yaml

DEEP = 20_000
"""More brackets than any parser's stack holds."""
RAW = (
    *("null", "true", "false", "0", "-1", "1.5", "-0.0", "1e-320", "1e308", "1e999", "-1e999"),
    *("NaN", "Infinity", "-Infinity", "1000000000", "9223372036854775808", "1" + "0" * 400),
    *("9" * 5000, '"9"', '"NaN"', '"1e999"', '"²"', '""', '" "', '"\\u0000"', '"\\ud800"'),
    *('"\\u202e"', '"\\u001b[2J"', '"../../../../tmp/escaped"', '"/etc/passwd"', '"a/b"', '"*"'),
    *('"' + "x" * 3000 + '"', "[]", "{}", "[[]]", "[1]", "[null]", '{"a": 1}', '{"a": 1, "a": 2}'),
    '{"_target_": "os.system", "command": "touch /tmp/escaped"}',
    '"${oc.env:HOME}"',
    "[" * DEEP,
    "[" * 300 + "]" * 300,
    "[" * 950 + "]" * 950,
    '{"a":' * DEEP,
)
"""Values for a place in JSON or YAML, as they are written."""
TOKENS = (
    *(b"", b"0", b"-1", b"1.5", b"nan", b"NaN", b"inf", b"-inf", b"1e308", b"1e999", b"1e-320"),
    *(b"9" * 400, b"9" * 5000, b"1000000000", b"2147483648", b"0x" + b"f" * 3000, b"1_0", b"1:30"),
    *(b"\0", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", "²".encode(), "٣".encode(), b"\x1b[2J"),
    *(
        b"\xe2\x80\xa8",
        b"\r",
        b"\n",
        b",",
        b'"',
        b"'",
        b"#",
        b"%",
        b":",
        b"- ",
        b"\t",
        b"*a",
        b"&a",
    ),
    *(b"../../../../tmp/escaped", b"/etc/passwd", b"~", b"*", b"null", b"true", b"[]", b"{}"),
    *(b"!!python/object/apply:os.system [id]", b"<<: {a: 1}", b"_target_: os.system", b"x" * 3000),
    *(b"2001-99-99", b".nan", b".inf", b"@nas-cpu ", b"=", b">", b"[" * DEEP, b"{" * DEEP),
)
"""Pieces of text to put in place of words, or anywhere."""
_WORD = re.compile(rb"[\w.+-]+")
_FLOAT = re.compile(r"(?<![\w.+-])(\d+)e(?=[+-])")
"""What JSON writes as a float and YAML reads as a text."""
_PLACE = "@place@"

Change = Callable[[Random, bytes], bytes]


def hostile(random: Random, examples: Sequence[bytes], form: str) -> bytes:
    """Return one of the examples with one to four changes, some of them aware of its form."""
    content = random.choice(examples)
    changes = [*_ANY, *(_TEXT if form not in ("bytes", "tensors") else ()), *_OWN.get(form, ())]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        own = _OWN.get(form)
        change = random.choice(own if own and random.random() < 0.5 else changes)
        content = change(random, content)
    if random.random() < 0.03:
        content += random.choice(examples)
    return content


def _place(random: Random, content: bytes) -> int:
    return random.randrange(len(content) + 1)


def _flip(random: Random, content: bytes) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 10))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(random: Random, content: bytes) -> bytes:
    at, value = _place(random, content), random.choice((0, 0x7F, 0x80, 0xFF))
    length = random.choice((1, 4, 8, 64))
    return content[:at] + bytes([value]) * length + content[at + length :]


def _insert(random: Random, content: bytes) -> bytes:
    at = _place(random, content)
    return content[:at] + random.choice(TOKENS) + content[at:]


def _cut_off(random: Random, content: bytes) -> bytes:
    return content[: _place(random, content)]


def _take_out(random: Random, content: bytes) -> bytes:
    start, end = sorted((_place(random, content), _place(random, content)))
    return content[:start] + content[end:]


def _repeat(random: Random, content: bytes) -> bytes:
    start = _place(random, content)
    piece = content[start : start + random.choice((1, 10, 200))]
    n = random.choice((2, 2, 30, 5000 if len(piece) <= 10 else 2))
    return content[:start] + piece * n + content[start + len(piece) :]


def _replace_word(random: Random, content: bytes) -> bytes:
    words = list(_WORD.finditer(content))
    if not words:
        return content
    word = random.choice(words)
    return content[: word.start()] + random.choice(TOKENS) + content[word.end() :]


def _swap_words(random: Random, content: bytes) -> bytes:
    words = list(_WORD.finditer(content))
    if len(words) < 2:
        return content
    word, other = random.choice(words), random.choice(words)
    return content[: word.start()] + other[0] + content[word.end() :]


def _change_lines(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(other, lines[at])
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = random.choice(TOKENS) + b"\n"
    return b"".join(lines)


def _change_json(random: Random, content: bytes) -> bytes:
    try:
        return _changed_tree(random, json.loads(content)).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return content  # it is broken already


def _change_yaml(random: Random, content: bytes) -> bytes:
    try:
        text = _FLOAT.sub(r"\1.0e", _changed_tree(random, yaml.safe_load(content)))
    except (yaml.YAMLError, ValueError, RecursionError):
        return content
    return text.encode(errors="surrogatepass") + b"\n"


def _change_json_line(random: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    marked, mark, text = lines[at].rpartition(b"@nas-cpu ")
    lines[at] = marked + mark + _change_json(random, text)
    return b"\n".join(lines)


def _changed_tree(random: Random, tree: Any) -> str:
    """Return a tree as JSON with one place changed, taken away or renamed."""
    raw = random.choice(RAW)
    places = list(_places(tree))
    if not places:
        return raw
    parent, key = random.choice(places)
    value, kind = parent[key], random.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[random.choice((*parent, "_target_", "../x", ""))] = parent.pop(key)
    elif kind == 2 and isinstance(parent, list):
        parent.extend([value] * random.choice((1, 50)))
    elif kind == 3:
        other, name = random.choice(places)
        parent[key] = deepcopy(other[name])
    elif isinstance(value, str) and value[:1] in ("{", "[") and random.random() < 0.7:
        parent[key] = _change_json(random, value.encode()).decode(errors="replace")
    else:
        parent[key] = _PLACE
    return json.dumps(tree, default=str).replace(f'"{_PLACE}"', raw)


def _places(tree: Any) -> Any:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if _is_list(tree) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _is_list(tree: Any) -> bool:
    return isinstance(tree, list)


def _change_cell(random: Random, content: bytes) -> bytes:
    lines = content.decode(errors="replace").splitlines()
    at = random.randrange(len(lines)) if lines else -1
    cells = next(csv.reader([lines[at]]), None) if lines else None
    if not cells:
        return content
    word = random.choice(TOKENS).decode(errors="replace")
    cells[random.randrange(len(cells))] = word.replace("\n", " ").replace("\r", " ")
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return "".join(
        f"{line}\n" for line in (*lines[:at], text.getvalue(), *lines[at + 1 :])
    ).encode()


def _change_tensors(random: Random, content: bytes) -> bytes:
    """Change the header of a safetensors file, and mostly tell its new length."""
    if len(content) < 8:
        return content
    (length,) = struct.unpack("<Q", content[:8])
    header = _change_json(random, content[8 : 8 + length])
    claimed = random.choice((len(header),) * 8 + (length, 2**62, 0))
    return struct.pack("<Q", claimed) + header + content[8 + length :]


def _change_numbers(random: Random, content: bytes) -> bytes:
    """Overwrite what may be floats or sizes."""
    words = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff" * 8, b"\xff\xff\xff\x7f", b"\0" * 8)
    word, at = random.choice(words), _place(random, content)
    return content[:at] + word + content[at + len(word) :]


_ANY = (_flip, _overwrite, _cut_off, _take_out, _repeat)
_TEXT = (_insert, _replace_word, _replace_word, _swap_words, _change_lines, _change_lines)
_OWN: dict[str, tuple[Change, ...]] = {
    "json": (_change_json,),
    "yaml": (_change_yaml,),
    "lines": (_change_json_line,),
    "csv": (_change_cell,),
    "tensors": (_change_tensors, _change_tensors, _change_numbers),
    "bytes": (_change_numbers,),
}
