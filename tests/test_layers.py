"""A room imports only rooms below it; late and TYPE_CHECKING imports count. ARCHITECTURE.md says what each is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP_TO_BOTTOM = (
    "commands",
    "hydra_plugins",
    "sweeps",
    "executors",
    "runs",
    "prediction",
    "tracking",
    "reports",
    "comparison",
    "folders",
    "training",
    "data",
    "config",
    "ground",
)
GROUND = {"addresses", "amounts", "cache", "errors", "files", "machine", "outputs", "pool"}
GROUND |= {"seeds", "stopping", "waiting"}
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in ("lenet_exp", "hydra_plugins")
    for file in (ROOT / package).rglob("*.py")
}


def room(module: str) -> str:
    """`lenet_exp.tracking.store` is of tracking; what lies at the top of the package is ground, or a command."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    if package == "hydra_plugins" or name in TOP_TO_BOTTOM:
        return name if package == "lenet_exp" else package
    return "ground" if name in GROUND else "commands"


def imported(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in it."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base for alias in node.names]
        yield from (name for name in names if name in FILES and name != module)


GRAPH = {module: set(imported(module)) for module in FILES}


def test_every_file_is_in_a_room():
    assert {room(module) for module in FILES} == set(TOP_TO_BOTTOM)


@pytest.mark.parametrize("above", TOP_TO_BOTTOM)
def test_no_room_imports_one_above_it(above):
    lower = TOP_TO_BOTTOM[TOP_TO_BOTTOM.index(above) :]
    wrong = [(m, i) for m, found in GRAPH.items() for i in found if room(m) == above and room(i) not in lower]
    assert wrong == []


def test_no_two_files_import_each_other_nor_in_a_circle():
    list(TopologicalSorter(GRAPH).static_order())  # raises CycleError with the circle
    assert GRAPH
