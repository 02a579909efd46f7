"""Public functions and classes have docstrings, and the first line of a docstring stands alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_layers import FILES

OPENING = re.compile(r"(Of|As of|The same|What|Who|Otherwise|That|Those)\b")
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST, bool]]:
    """Yield (qualified name, node, public?) of all functions and classes; those inside a function
    are private.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS):
            name = f"{prefix}.{child.name}"
            overload = any(
                isinstance(d, ast.Name) and d.id == "overload" for d in child.decorator_list
            )
            yield name, child, not (child.name.startswith("_") or overload)
            nested = definitions(child, name)
            local = not isinstance(child, ast.ClassDef) or child.name.startswith("_")
            yield from ((n, c, public and not local) for n, c, public in nested)
        else:
            yield from definitions(child, prefix)


@pytest.mark.parametrize("module", FILES)
def test_public_definitions_have_docstrings_that_stand_alone(module):
    tree = ast.parse(FILES[module].read_text())
    found = [
        (name, ast.get_docstring(node), public) for name, node, public in definitions(tree, module)
    ]
    found.append((module, ast.get_docstring(tree), True))
    assert [name for name, text, public in found if public and not text] == []
    assert [text for _, text, _ in found if text and OPENING.match(text)] == []
