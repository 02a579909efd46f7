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
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for package in packages
        for file in (ROOT / package).rglob("*.py")
    }


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
    return "ground" if parts[0] in GROUND else "api"


def imported(module: str) -> Iterator[str]:
    """Yield the modules of this project that a module imports, at any level."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base
                for alias in node.names
            ]
        yield from (name for name in names if name in FILES and name != module)


GRAPH = {module: set(imported(module)) for module in FILES}


def test_every_module_is_in_a_layer():
    assert {layer(module) for module in FILES} == set(LAYERS)


@pytest.mark.parametrize("above", LAYERS)
def test_layer_imports_no_layer_above(above):
    lower = LAYERS[LAYERS.index(above) :]
    wrong = [
        (m, i)
        for m, found in GRAPH.items()
        for i in found
        if layer(m) == above and layer(i) not in lower
    ]
    assert wrong == []


def test_imports_have_no_cycles():
    list(TopologicalSorter(GRAPH).static_order())  # raises CycleError with the circle
    assert GRAPH


def test_only_commands_and_readers_of_mlflow_import_tracking():
    """Training, runs, sweeps, searches, and executors write folders, which the uploading process
    follows.
    """
    users = {
        layer(module)
        for module, found in GRAPH.items()
        if any("lenet_exp.tracking" in name for name in found)
    }
    expected = {"commands", "hydra_plugins", "api", "ui", "removal", "reproduction", "prediction"}
    assert {name for name in users if not name.startswith("tracking")} == expected


def test_only_tracking_and_user_interface_import_mlflow():
    importing = re.compile(r"^\s*(from|import) mlflow\b", re.MULTILINE)
    found = {layer(module) for module, file in FILES.items() if importing.search(file.read_text())}
    assert {name for name in found if not name.startswith("tracking")} == {"ui"}


@pytest.mark.parametrize("cluster", ["ray", "slurm"])
def test_only_launcher_plugin_imports_cluster_executors(cluster):
    package = f"lenet_exp.executors.{cluster}"
    users = {
        module for module, found in GRAPH.items() if any(name.startswith(package) for name in found)
    }
    assert {module for module in users if not module.startswith(package)} == {
        "hydra_plugins.lenet_exp_launcher"
    }


def test_searches_package_is_imported_late():
    """The package imports optuna, which is slow."""
    wrong = []
    for module, file in FILES.items():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "lenet_exp.searches"
            ):
                wrong += [module] if layer(module) != "searches" else []
    assert wrong == []


@pytest.mark.parametrize("package", ["lenet_exp", "tests"])
def test_folders_are_small_and_file_names_rarely_repeat(package):
    files = [file for file in modules(package).values() if file.name != "__init__.py"]
    folders = Counter(file.parent.relative_to(ROOT) for file in files)
    names = Counter(file.name for file in files if file.name != "conftest.py")
    assert {folder: n for folder, n in folders.items() if n > MOST_FILES} == {}
    assert {name: n for name, n in names.items() if n > MOST_OF_A_NAME} == {}


def test_calls_name_their_arguments_after_the_fourth():
    nodes = [
        (module, node)
        for module, file in FILES.items()
        for node in ast.walk(ast.parse(file.read_text()))
    ]
    defined = {node.name for _, node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined -= {
        node.name
        for _, node in nodes
        if isinstance(node, ast.FunctionDef) and node.args.vararg is not None
    }
    calls = [
        (module, node)
        for module, node in nodes
        if isinstance(node, ast.Call) and len(node.args) > MOST_POSITIONAL
    ]
    names = {
        (module, ast.unparse(call)): ast.unparse(call.func).rpartition(".")[2]
        for module, call in calls
    }
    starred = {
        ast.unparse(call) for _, call in calls if any(isinstance(a, ast.Starred) for a in call.args)
    }
    assert [
        call for call, name in names.items() if name in defined and call[1] not in starred
    ] == []


def test_names_of_tests_are_short_statements():
    names = [
        name
        for file in modules("tests").values()
        for name in re.findall(r"def (test_\w+)", file.read_text())
    ]
    vague = re.compile(r"test_(an?|the|it|its|they|those|what|who|so)_")
    assert [name for name in names if len(name) > LONGEST_TEST or vague.match(name)] == []


def test_few_dictionaries_are_untyped():
    lines = [
        line
        for file in FILES.values()
        for line in file.read_text().splitlines()
        if " import " not in line
    ]
    assert sum(len(UNTYPED.findall(line)) for line in lines) <= MOST_UNTYPED
    assert sum(len(re.findall(r"\bOption\b", line)) for line in lines) <= MOST_OPTIONS


def test_no_module_shadows_a_function_of_the_api():
    """`import lenet_exp.x.y` would replace a function `lenet_exp.x`."""
    folders = {path.name for path in (ROOT / "lenet_exp").iterdir()}
    assert folders & set(lenet_exp.__all__) == set()


def private_names(module: str) -> set[str]:
    """Return the private names of libraries that a module uses in imports, attributes, and
    strings.
    """
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found |= {name for name in names if re.search(r"(^|\.)_(?!_)", name)}
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"_(?!_)\w*[a-z0-9]", node.attr):
            if ast.unparse(node.value) not in {"self", "cls", "os"}:  # os._exit is documented
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and re.fullmatch(OF_OTHERS, str(node.value)):
            found.add(str(node.value))
    return found


def test_private_names_of_libraries_are_used_in_two_files():
    assert {module: names for module in FILES if (names := private_names(module))} == PRIVATE
    assert sum(map(len, PRIVATE.values())) + len(INTERNAL) <= 12
