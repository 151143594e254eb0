"""What is read is data: no pickle, no `eval`, no shell; in library, benchmarks and tests."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("nas", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
PICKLES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
"""Packages whose files are programs."""
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "runpy.run_path"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("tempfile.mktemp", "pandas.read_pickle", "pd.read_pickle", "yaml.unsafe_load"),
    *("yaml.full_load", "torch.hub.load", "tarfile.extractall", "shutil.unpack_archive"),
}
PROCESSES = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call")} | {
    "subprocess.check_output",
    "context.Process",
}
ALLOWED = {
    ("nas/latency/runner/torch_session.py", "torch.export.load"): (
        "a model file that this project wrote, refused where it holds a pickle"
    ),
    ("nas/latency/runner/torchscript_session.py", "torch.jit.load"): (
        "a model file that this project wrote; what it may build is fixed in torch's own reader"
    ),
}
"""Calls that read a format which can hold programs, and why they may."""
READS = {"torch.export.load", "torch.jit.load", "torch.package.PackageImporter"}


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return the imports and calls of a file."""
    return chosen(path.read_text(encoding="utf-8"))


def chosen(text: str) -> tuple[ast.AST, ...]:
    """Return the imports and calls of a text."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call)
    return tuple(node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))


def imported(found: Iterable[ast.AST]) -> Iterator[str]:
    """Yield what is imported, as `package.name`."""
    for node in found:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(node: ast.AST) -> str:
    """Return `a.b.c` as it is written, and nothing of what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def wrong_calls(found: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the calls that may run what a file or a device says."""
    for node in found:
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        words = {word.arg: _word(word.value) for word in node.keywords}
        checks = {
            "forbidden": name in FORBIDDEN or name.startswith(("os.exec", "os.spawn")),
            "shell": words.get("shell", "False") != "False",
            "pickle": words.get("allow_pickle", "False") != "False",
            "remote code": words.get("trust_remote_code", "False") != "False",
            "weights": name == "torch.load" and words.get("weights_only") != "True",
            "yaml": name == "yaml.load" and not _is_safe(node),
            # One text would be cut into words, or read by a shell.
            "one text": name in PROCESSES and node.args and _is_text(node.args[0]),
            "may hold programs": name in READS,
        }
        yield from (f"{name}: {what}" for what, is_wrong in checks.items() if is_wrong)


def _is_safe(call: ast.Call) -> bool:
    return len(call.args) == 2 and name_of(call.args[1]) in ("_StrictLoader", "yaml.SafeLoader")


def _word(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "something"


def _is_text(node: ast.expr) -> bool:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text or isinstance(node, ast.JoinedStr)


@pytest.mark.parametrize("source", SOURCES)
def test_no_file_is_read_as_code(source: str) -> None:
    tree = nodes(SOURCES[source])
    names = set(imported(tree))
    assert {name.partition(".")[0] for name in names} & PICKLES == set()
    assert names & FORBIDDEN == set()
    found = {one for one in wrong_calls(tree) if (source, one.partition(":")[0]) not in ALLOWED}
    assert found == set()


def test_what_is_allowed_is_still_there() -> None:
    for source, call in ALLOWED:
        found = wrong_calls(nodes(SOURCES[source]))
        assert any(one.startswith(f"{call}:") for one in found)


WRONG = (
    "torch.load(path)",
    "torch.load(path, weights_only=False)",
    "numpy.load(path, allow_pickle=True)",
    "subprocess.run('ls', check=True)",
    "subprocess.run(f'ls {x}', check=True)",
    "subprocess.run(words, shell=True)",
    "subprocess.Popen(words, shell=is_shell)",
    "yaml.load(text, yaml.Loader)",
    "yaml.load(text)",
    "eval(text)",
    "os.execvp(name, words)",
    "datasets.load_dataset(path, trust_remote_code=True)",
    "tempfile.mktemp()",
    "torch.jit.load(path)",
)


@pytest.mark.parametrize("text", WRONG)
def test_wrong_calls_are_found(text: str) -> None:
    assert list(wrong_calls(chosen(text)))


@pytest.mark.parametrize(
    "text",
    ["torch.load(path, weights_only=True)", "re.compile(x)", "subprocess.run([a], check=True)"],
)
def test_right_calls_are_none(text: str) -> None:
    assert not list(wrong_calls(chosen(text)))


def test_imports_are_found_in_all_forms() -> None:
    text = "import pickle as p\nfrom os import system\nfrom dill import loads"
    assert set(imported(chosen(text))) == {"pickle", "os.system", "dill.loads"}
