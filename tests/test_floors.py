"""The floors: imports only point down, and the library keeps to safe and quiet calls."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from nas.paths import PACKAGE

PLAIN = {
    "nas",
    "nas.adapt",
    "nas.adapt.prices",
    "nas.adapt.proposals",
    "nas.adapt.settings",
    "nas.adapt.trajectory",
    "nas.adapt.widths",
    "nas.ablation",
    "nas.arch",
    "nas.backbone",
    "nas.baselines",
    "nas.candidate",
    "nas.cost",
    "nas.data",
    "nas.data.columns",
    "nas.data.idx",
    "nas.data.memory",
    "nas.data.options",
    "nas.data.source",
    "nas.data.split",
    "nas.errors",
    "nas.export",
    "nas.export.metadata",
    "nas.export.script",
    "nas.export.settings",
    "nas.export.tables",
    "nas.extras",
    "nas.fidelity",
    "nas.fidelity.figures",
    "nas.fidelity.judgement",
    "nas.fidelity.selection",
    "nas.fidelity.settings",
    "nas.fidelity.trained",
    "nas.fidelity.wording",
    "nas.heads",
    "nas.latency",
    "nas.latency.agreement",
    "nas.latency.answers",
    "nas.latency.assembly",
    "nas.latency.bounds",
    "nas.latency.breakdown",
    "nas.latency.calibrate",
    "nas.latency.check",
    "nas.latency.companions",
    "nas.latency.comparison",
    "nas.latency.correction",
    "nas.latency.cost_model",
    "nas.latency.cost_model_file",
    "nas.latency.csv_file",
    "nas.latency.device_offsets",
    "nas.latency.devices",
    "nas.latency.devices.adb",
    "nas.latency.devices.adb_shell",
    "nas.latency.devices.benchmark_model",
    "nas.latency.devices.board",
    "nas.latency.devices.bundle",
    "nas.latency.devices.contract",
    "nas.latency.devices.cooling",
    "nas.latency.devices.crew",
    "nas.latency.devices.group",
    "nas.latency.devices.local",
    "nas.latency.devices.model_files",
    "nas.latency.devices.options",
    "nas.latency.devices.phone",
    "nas.latency.devices.phone_bench",
    "nas.latency.devices.phone_folder",
    "nas.latency.devices.phone_heat",
    "nas.latency.devices.pieces",
    "nas.latency.devices.registry",
    "nas.latency.devices.remote_shell",
    "nas.latency.devices.ssh",
    "nas.latency.devices.watching",
    "nas.latency.devices.worker",
    "nas.latency.features",
    "nas.latency.hardware_tables",
    "nas.latency.hswish",
    "nas.latency.modelled",
    "nas.latency.network_options",
    "nas.latency.pairs",
    "nas.latency.raw_times",
    "nas.latency.readings",
    "nas.latency.rows",
    "nas.latency.runtimes.variants",
    "nas.latency.settings",
    "nas.latency.subjects",
    "nas.latency.summary",
    "nas.latency.table",
    "nas.latency.terms",
    "nas.latency.verdict",
    "nas.network",
    "nas.network.supernet",
    "nas.network.supernet.places",
    "nas.objective",
    "nas.ops",
    "nas.paths",
    "nas.proxies",
    "nas.proxies.features",
    "nas.proxies.gaussian_process",
    "nas.proxies.guided",
    "nas.proxies.guided.candidates",
    "nas.proxies.guided.choice",
    "nas.proxies.guided.covariance",
    "nas.proxies.guided.favourites",
    "nas.proxies.guided.profile",
    "nas.proxies.guided.regression",
    "nas.proxies.guided.stages",
    "nas.proxies.guided.tuning",
    "nas.fidelity.rank_agreement",
    "nas.proxies.surrogate",
    "nas.proxies.surrogate_file",
    "nas.report",
    "nas.report.adaptation_page",
    "nas.report.axes",
    "nas.report.check_figures",
    "nas.report.check_scatter",
    "nas.report.comparison",
    "nas.report.document",
    "nas.report.fidelity_page",
    "nas.report.marked_scatter",
    "nas.report.figures",
    "nas.report.labels",
    "nas.report.legend",
    "nas.report.markup",
    "nas.report.networks",
    "nas.report.page",
    "nas.report.plot_frame",
    "nas.report.scatter",
    "nas.report.shares",
    "nas.report.stages",
    "nas.report.study",
    "nas.report.summary",
    "nas.report.table_page",
    "nas.report.thinning",
    "nas.locks",
    "nas.results",
    "nas.scaling",
    "nas.search",
    "nas.search.identity",
    "nas.search.passwords",
    "nas.sections",
    "nas.space_bounds",
    "nas.space",
    "nas.steps",
    "nas.text",
    "nas.train",
    "nas.train.settings",
    "nas.train.telling",
    "nas.training",
    "nas.training.full",
    "nas.training.full.folder",
    "nas.training.full.recipe",
    "nas.training.full.tensorboard",
    "nas.training.full.watching",
    "nas.training.recipe",
    "nas.training.required",
    "nas.training.results",
    "nas.training.spread",
    "nas.workers",
    "nas.workers.automatic",
    "nas.workers.child",
    "nas.workers.contract",
    "nas.workers.cores",
    "nas.workers.crew",
    "nas.workers.jobs",
    "nas.workers.local",
    "nas.workers.process",
    "nas.workers.processes",
    "nas.workers.ray_cluster",
    "nas.workers.ray_workers",
    "nas.workers.remote",
    "nas.workers.trainings",
}
"""The lowest floor, plain data: the standard library, numpy and pyyaml."""
RUNNER = {
    "nas.latency.runner",
    "nas.latency.runner.__main__",
    "nas.latency.runner.bench",
    "nas.latency.runner.executorch_session",
    "nas.latency.runner.folder",
    "nas.latency.runner.following",
    "nas.latency.runner.litert_session",
    "nas.latency.runner.machine",
    "nas.latency.runner.onnx_session",
    "nas.latency.runner.ports",
    "nas.latency.runner.receiving",
    "nas.latency.runner.replies",
    "nas.latency.runner.sessions",
    "nas.latency.runner.sheet",
    "nas.latency.runner.timing",
    "nas.latency.runner.torch_session",
    "nas.latency.runner.torchscript_session",
    "nas.latency.runner.worker",
}
"""What a device gets a copy of: the standard library, numpy, and a runtime by its name."""
FITTED = {
    "nas.latency.fit_cost_model",
    "nas.latency.fit_report",
    "nas.latency.isotonic",
    "nas.latency.timed_blocks",
    "nas.proxies.accuracy_data",
    "nas.proxies.fit_surrogate",
    "nas.fidelity.truth",
    "nas.proxies.tuning",
}
"""Beside it: what fits the shipped models to data sets, with scipy and pandas."""
TORCH = {
    "nas.adapt.crop",
    "nas.adapt.judges",
    "nas.adapt.measuring",
    "nas.adapt.netadapt",
    "nas.data.assemble",
    "nas.data.augment",
    "nas.data.cache",
    "nas.data.crop",
    "nas.data.dataset",
    "nas.data.decode",
    "nas.data.digits",
    "nas.data.fashion_mnist",
    "nas.data.hub",
    "nas.data.image_folder",
    "nas.data.images",
    "nas.data.mixing",
    "nas.data.parquet",
    "nas.data.randaugment",
    "nas.export.agreement",
    "nas.export.exporting",
    "nas.export.result",
    "nas.export.subject",
    "nas.export.timing",
    "nas.latency.measure",
    "nas.latency.models",
    "nas.latency.runtimes",
    "nas.latency.session",
    "nas.latency.runtimes.cache",
    "nas.latency.runtimes.contract",
    "nas.latency.runtimes.executorch",
    "nas.latency.runtimes.export",
    "nas.latency.runtimes.folding",
    "nas.latency.runtimes.graph",
    "nas.latency.runtimes.litert",
    "nas.latency.runtimes.litert_file",
    "nas.latency.runtimes.litert_graph",
    "nas.latency.runtimes.onnx",
    "nas.latency.runtimes.onnx_graph",
    "nas.latency.runtimes.onnx_int8",
    "nas.latency.runtimes.quantisation",
    "nas.latency.runtimes.ranges",
    "nas.latency.runtimes.registry",
    "nas.latency.runtimes.torch_module",
    "nas.latency.runtimes.torchscript",
    "nas.network.blocks",
    "nas.network.build",
    "nas.network.checkpoint",
    "nas.network.depthwise",
    "nas.network.detection",
    "nas.network.detection.anchors",
    "nas.network.detection.boxes",
    "nas.network.detection.loss",
    "nas.network.detection.ssdlite",
    "nas.network.features",
    "nas.network.lraspp",
    "nas.network.tensor_file",
    "nas.network.supernet.shared",
    "nas.network.supernet.supernet",
    "nas.proxies.guided.lesson",
    "nas.proxies.guided.proxy",
    "nas.proxies.short_train",
    "nas.proxies.supernet",
    "nas.proxies.zero_cost",
    "nas.proxies.zero_cost.codes",
    "nas.proxies.zero_cost.gradients",
    "nas.proxies.zero_cost.percent",
    "nas.proxies.zero_cost.probe",
    "nas.proxies.zero_cost.proxy",
    "nas.proxies.zero_cost.scorer",
    "nas.proxies.zero_cost.synflow",
    "nas.proxies.zero_cost.zen",
    "nas.training.batches",
    "nas.training.conditions",
    "nas.training.fit",
    "nas.training.full.averaging",
    "nas.training.full.evaluation",
    "nas.training.full.feed",
    "nas.training.full.inference",
    "nas.training.full.job",
    "nas.training.full.launch",
    "nas.training.full.loop",
    "nas.training.full.losses",
    "nas.training.full.networks",
    "nas.training.full.optimizers",
    "nas.training.full.state",
    "nas.training.full.stopwatch",
    "nas.training.full.work",
    "nas.training.optimizer_state",
    "nas.training.optimizers",
    "nas.training.supernet_accuracy",
    "nas.training.supernet_checkpoint",
    "nas.training.supernet_fit",
}
"""The networks and what runs them."""
SEARCH = {
    "nas.fidelity.answers",
    "nas.fidelity.printed",
    "nas.fidelity.scoring",
    "nas.fidelity.teaching",
    "nas.search.address",
    "nas.search.asking",
    "nas.search.choices",
    "nas.search.connection",
    "nas.search.distributions",
    "nas.search.evolution",
    "nas.search.journal",
    "nas.search.memory",
    "nas.search.outcome",
    "nas.search.records",
    "nas.search.replay",
    "nas.search.run",
    "nas.search.shared",
    "nas.search.storage",
    "nas.search.study",
    "nas.showing_steps",
    "nas.train.comparison",
    "nas.train.showing",
    "nas.train.showing_sweep",
}
"""The search, with optuna and rich; its networks are plain data, so it needs no torch."""
COMMANDS = {
    "nas.adapt.__main__",
    "nas.chosen_data",
    "nas.chosen_workers",
    "nas.commands",
    "nas.export.__main__",
    "nas.fidelity.__main__",
    "nas.latency.__main__",
    "nas.latency.compare",
    "nas.latency.fit",
    "nas.latency.predict",
    "nas.proxies.fit",
    "nas.report.__main__",
    "nas.search.__main__",
    "nas.search.options",
    "nas.search.replaying",
    "nas.train.__main__",
    "nas.train.jobs",
    "nas.train.sweep",
    "nas.train.together",
    "nas.train.training",
    "nas.train.worker",
    "nas.workers.judge",
}
"""The highest floor: the command line."""
FLOORS = {
    "PLAIN": (PLAIN, set[str]()),
    "RUNNER": (RUNNER, set[str]()),
    "FITTED": (FITTED, {"pandas", "scipy"}),
    "TORCH": (TORCH, {"onnx", "onnxruntime", "onnxscript", "torch"}),
    "SEARCH": (SEARCH, {"optuna", "rich"}),
}
"""What the modules of a floor may import: the heavy packages, and modules of PLAIN and its own."""
COMMAND_PACKAGES = {"hydra", "omegaconf"}
HEAVY = COMMAND_PACKAGES | {
    "lightning_fabric",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "optuna",
    "pandas",
    "rich",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
}


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names_of(node: ast.AST) -> Iterator[str]:
    """Yield the modules that an import statement may load, submodules included."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        assert node.module is not None
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node: ast.AST, *, at_load: bool) -> Iterator[str]:
    """Yield what is imported for real, and where `at_load` says so not what functions import."""
    for child in ast.iter_child_nodes(node):
        if is_typing_only(child):
            continue
        if at_load and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield from names_of(child)
        yield from imports(child, at_load=at_load)


def loaded_by(module: str) -> set[str]:
    """Return every module that loading `module` loads, through modules of ours."""
    found, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        parents = name.split(".")
        waiting += [".".join(parents[:end]) for end in range(1, len(parents))]
        if name in MODULES:
            waiting += imports(tree(MODULES[name]), at_load=True)
    return found


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_every_module_is_on_one_floor() -> None:
    listed = Counter(name for floor in (*FLOORS.values(), (COMMANDS,)) for name in floor[0])
    assert not set(MODULES) - set(listed), (
        "these modules are on no floor: add each to the lowest list of tests/test_floors.py whose "
        "packages it can do with (PLAIN, FITTED, TORCH, SEARCH or COMMANDS)"
    )
    assert not set(listed) - set(MODULES), "these modules are gone: take them off their floor"
    assert max(listed.values()) == 1, "a module may be on one floor only"


def test_loading_is_followed_through_modules() -> None:
    assert {"nas", "nas.network", "nas.arch", "torch"} <= loaded_by("nas.network.build")
    assert "torch" not in loaded_by("nas")


@pytest.mark.parametrize("module", sorted(PLAIN))
def test_plain_data_loads_nothing_heavy(module: str) -> None:
    assert packages(loaded_by(module)) & HEAVY == set()


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor: str) -> None:
    own, allowed = FLOORS[floor]
    for module in own - {"nas"}:  # it loads nas.network.build where that is asked for
        every = set(imports(tree(MODULES[module]), at_load=False))
        assert packages(every) & HEAVY <= allowed, module
        assert {name for name in every if name in MODULES} <= PLAIN | RUNNER | own, module


@pytest.mark.parametrize("module", sorted(RUNNER))
def test_the_runner_stands_alone(module: str) -> None:
    every = set(imports(tree(MODULES[module]), at_load=False))
    assert packages(every) <= sys.stdlib_module_names | {"numpy", "nas"}
    assert {name for name in every if name in MODULES} <= RUNNER


@pytest.mark.parametrize("module", sorted(SEARCH | FITTED))
def test_neither_searching_nor_fitting_loads_torch(module: str) -> None:
    assert "torch" not in packages(loaded_by(module))


def test_import_of_the_package_is_light() -> None:
    code = "import sys, nas; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert packages(set(done.stdout.split())) & HEAVY == set()


def test_every_import_is_absolute_and_there() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nas"):
                assert node.module in MODULES, f"{module} imports {node.module}"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"nas.commands"}))
def test_library_neither_prints_nor_exits(module: str) -> None:
    silent = {"print", "exit", "quit", "input", "sys.exit", "os._exit", "breakpoint"}
    assert {name for name, _ in calls(MODULES[module])} & silent == set()


@pytest.mark.parametrize("module", MODULES)
def test_every_module_and_public_name_says_what_it_is(module: str) -> None:
    content = tree(MODULES[module])
    assert ast.get_docstring(content)
    for node in content.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if "overload" in map(ast.unparse, node.decorator_list):
                continue  # the function itself follows
            assert ast.get_docstring(node), f"{module}.{node.name} has no docstring"
