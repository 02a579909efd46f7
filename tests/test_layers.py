"""A folder imports only folders below it (late and TYPE_CHECKING imports count), and folders stay
small.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lenet_exp

ROOT = Path(__file__).resolve().parent.parent
LAYERS = (
    "commands",
    "hydra_plugins",
    "api",
    "ui",
    "removal",
    "confirmation",
    "searches",
    "sweeps",
    "reproduction",
    "runs",
    "prediction",
    "tracking.uploader",
    "tracking.sweep_runs",
    "tracking.run_uploads",
    "tracking.models",
    "tracking.stores",
    "reports.files",
    "reports.page",
    "reports.terminal",
    "reports",
    "executors",
    "comparison",
    "folders",
    "training",
    "data",
    "config",
    "ground",
)
GROUND = {
    "addresses",
    "amounts",
    "cache",
    "code_packages",
    "code_text",
    "errors",
    "files",
    "machine",
    "outputs",
    "package_files",
    "processes",
    "seeds",
    "stopping",
    "waiting",
}
MOST_FILES = 20
MOST_OF_A_NAME = 2
MOST_UNTYPED = 20
MOST_POSITIONAL = 4  # positional arguments of a call
LONGEST_TEST = 70  # characters in the name of a test
MOST_OPTIONS = 46  # uses of the alias for the content of an option file
# Private names of other libraries, by module. Each module explains its use, and a test checks the
# names.
PRIVATE = {
    "lenet_exp.config.hydra_parts": {"hydra._internal.utils"},
    # These names are part of torch's pickles of whole modules, whose format is fixed.
    "lenet_exp.training.trained.ancestor": {
        "_modules",
        "_parameters",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
    },
}
INTERNAL = {"run", "multirun", "compose_config"}  # of Hydra's app, in hydra_parts
OF_OTHERS = r"(torch|hydra|mlflow|optuna)[\w.]*([. ]_[a-z]\w*)+"
UNTYPED = re.compile(r"(dict|Dict|Mapping|MutableMapping)\[str, (Any|object)\]")


def modules(*packages: str) -> dict[str, Path]:
    """Return the files of packages by the names of their modules."""
    files = {}
    for package in packages:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts).removesuffix(".__init__")] = file
    return files


FILES = modules("lenet_exp", "hydra_plugins")


def layer(module: str) -> str:
    """Return a module's layer; top-level modules belong to ground or api."""
    package, _, rest = module.partition(".")
    if package == "hydra_plugins":
        return package

    parts = rest.split(".")
    for name in (".".join(parts[:2]), parts[0]):
        if name in LAYERS:
            return name
    if parts[0] == "tracking":
        return "tracking.stores"  # the package itself, which is empty
    if parts[0] == "__main__":
        return "commands"
    if parts[0] in GROUND:
        return "ground"
    return "api"


def imported(module: str) -> Iterator[str]:
    """Yield the modules of this project that a module imports, at any level."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = names_of_import_from(module, node)
        else:
            continue
        for name in names:
            if name in FILES and name != module:
                yield name


def names_of_import_from(module: str, node: ast.ImportFrom) -> list[str]:
    """Return the modules of a `from ... import ...`, whose names can be modules or attributes of
    one.
    """
    parts = []
    if node.level:  # a relative import
        is_package = FILES[module].name == "__init__.py"
        package = module if is_package else module.rpartition(".")[0]
        parents = package.split(".")
        parts = parents[: len(parents) - node.level + 1]
    if node.module:
        parts.append(node.module)
    base = ".".join(parts)

    names = []
    for alias in node.names:
        submodule = f"{base}.{alias.name}"
        names.append(submodule if submodule in FILES else base)
    return names


GRAPH = {module: set(imported(module)) for module in FILES}


def test_every_module_is_in_a_layer():
    assert {layer(module) for module in FILES} == set(LAYERS)


@pytest.mark.parametrize("above", LAYERS)
def test_layer_imports_no_layer_above(above):
    allowed = LAYERS[LAYERS.index(above) :]
    wrong = []
    for module, imports in GRAPH.items():
        if layer(module) == above:
            wrong += [(module, name) for name in imports if layer(name) not in allowed]
    assert wrong == []


def test_imports_have_no_cycles():
    list(TopologicalSorter(GRAPH).static_order())  # raises CycleError with the circle
    assert GRAPH


def test_only_commands_and_readers_of_mlflow_import_tracking():
    """Training, runs, sweeps, searches, and executors write folders, which the uploading process
    follows.
    """
    users = set()
    for module, imports in GRAPH.items():
        imports_tracking = any("lenet_exp.tracking" in name for name in imports)
        if imports_tracking and not layer(module).startswith("tracking"):
            users.add(layer(module))

    expected = {"commands", "hydra_plugins", "api", "ui", "removal", "reproduction", "prediction"}
    assert users == expected


def test_only_tracking_and_user_interface_import_mlflow():
    importing = re.compile(r"^\s*(from|import) mlflow\b", re.MULTILINE)
    users = set()
    for module, file in FILES.items():
        imports_mlflow = importing.search(file.read_text()) is not None
        if imports_mlflow and not layer(module).startswith("tracking"):
            users.add(layer(module))
    assert users == {"ui"}


@pytest.mark.parametrize("cluster", ["ray", "slurm"])
def test_only_launcher_plugin_imports_cluster_executors(cluster):
    package = f"lenet_exp.executors.{cluster}"
    users = set()
    for module, imports in GRAPH.items():
        imports_executor = any(name.startswith(package) for name in imports)
        if imports_executor and not module.startswith(package):
            users.add(module)
    assert users == {"hydra_plugins.lenet_exp_launcher"}


def test_searches_package_is_imported_late():
    """The package imports optuna, which is slow."""
    wrong = []
    for module, file in FILES.items():
        if layer(module) == "searches":
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                source = node.module or ""
                if source.startswith("lenet_exp.searches"):
                    wrong.append(module)
    assert wrong == []


@pytest.mark.parametrize("package", ["lenet_exp", "tests"])
def test_folders_are_small_and_file_names_rarely_repeat(package):
    files = [file for file in modules(package).values() if file.name != "__init__.py"]
    files_in = Counter(file.parent.relative_to(ROOT) for file in files)
    files_named = Counter(file.name for file in files if file.name != "conftest.py")

    assert {folder: n for folder, n in files_in.items() if n > MOST_FILES} == {}
    assert {name: n for name, n in files_named.items() if n > MOST_OF_A_NAME} == {}


def test_calls_name_their_arguments_after_the_fourth():
    """Only calls of this project's functions and classes count."""
    nodes = []
    for module, file in FILES.items():
        nodes += [(module, node) for node in ast.walk(ast.parse(file.read_text()))]
    defined = set()
    variadic = set()
    for _, node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        if isinstance(node, ast.FunctionDef) and node.args.vararg is not None:
            variadic.add(node.name)

    long_calls = []
    for module, node in nodes:
        if not isinstance(node, ast.Call) or len(node.args) <= MOST_POSITIONAL:
            continue
        is_starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in defined - variadic and not is_starred:
            long_calls.append((module, ast.unparse(node)))
    assert long_calls == []


def test_names_of_tests_are_short_statements():
    vague = re.compile(r"test_(an?|the|it|its|they|those|what|who|so)_")
    wrong = []
    for file in modules("tests").values():
        for name in re.findall(r"def (test_\w+)", file.read_text()):
            if len(name) > LONGEST_TEST or vague.match(name):
                wrong.append(name)
    assert wrong == []


def test_few_dictionaries_are_untyped():
    untyped = 0
    options = 0
    for file in FILES.values():
        for line in file.read_text().splitlines():
            if " import " not in line:
                untyped += len(UNTYPED.findall(line))
                options += len(re.findall(r"\bOption\b", line))
    assert untyped <= MOST_UNTYPED
    assert options <= MOST_OPTIONS


def test_no_module_shadows_a_function_of_the_api():
    """`import lenet_exp.x.y` would replace a function `lenet_exp.x`."""
    folders = {path.name for path in (ROOT / "lenet_exp").iterdir()}
    assert folders & set(lenet_exp.__all__) == set()


def private_names(module: str) -> set[str]:
    """Return the private names of libraries that a module uses in imports, attributes, and
    strings.
    """
    private = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            private |= {name for name in names if re.search(r"(^|\.)_(?!_)", name)}
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            is_private = re.fullmatch(r"_(?!_)\w*[a-z0-9]", node.attr) is not None
            if is_private and owner not in {"self", "cls", "os"}:  # os._exit is documented
                private.add(node.attr)
        elif isinstance(node, ast.Constant) and re.fullmatch(OF_OTHERS, str(node.value)):
            private.add(str(node.value))
    return private


def test_private_names_of_libraries_are_used_in_two_files():
    used = {}
    for module in FILES:
        names = private_names(module)
        if names:
            used[module] = names
    assert used == PRIVATE
    assert sum(map(len, PRIVATE.values())) + len(INTERNAL) <= 12
