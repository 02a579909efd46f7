"""The user's own code: the digest of what its files do, and the modules that they import."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

COMPILED = (
    ".so"  # end of the name of a compiled module, such as fast.cpython-312-x86_64-linux-gnu.so
)


@dataclass(frozen=True)
class Imports:
    """The imports in a Python file.

    Attributes:
        names: names of the modules that the file may import.
        computed: numbers of the lines that import a module whose name is computed, and thus not in
            `names`.
    """

    names: list[str]
    computed: list[int]


def digest_of(texts: Mapping[str, str]) -> str:
    """Return the digest of files.

    Args:
        texts: text of each file, as returned by `text_of`, by its path.
    """
    digest = hashlib.sha256()
    for path, text in sorted(texts.items()):
        digest.update(f"{path} {len(text)}\n{text}".encode())
    return digest.hexdigest()


def text_of(path: str, content: bytes) -> str:
    """Return the text of a file that a digest covers: blanked Python code, or the digest of a
    compiled module.

    Raises:
        SyntaxError, ValueError, RecursionError: the file is not valid Python.
    """
    if path.endswith(COMPILED):
        return hashlib.sha256(content).hexdigest()
    return blanked(content.decode("utf-8-sig"))


def imports_of(path: str, content: bytes) -> Imports:
    """Return the imports in a Python file: the statements, and calls of `import_module` and
    `__import__`.

    Imports in a compiled module are unknown.

    Args:
        path: path of the file in its folder, with which relative imports are resolved.
        content: content of the file.

    Raises:
        SyntaxError, ValueError, RecursionError: the file is not valid Python.
    """
    names: list[str] = []
    computed: list[int] = []
    if path.endswith(COMPILED):
        return Imports(names, computed)

    package = PurePosixPath(path).parent.parts
    tree = ast.parse(content.decode("utf-8-sig"))
    functions, modules = _names_of_importers(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute("." * node.level + (node.module or ""), package)
            candidates = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            names += [name for name in candidates if name]
        elif isinstance(node, ast.Call) and _is_import(node.func, functions, modules):
            called = _imported_by_call(node, package)
            names += called
            computed += [] if called else [node.lineno]
    return Imports(names, computed)


def blanked(text: str) -> str:
    """Return Python code without comments, docstrings, and blank lines. Other strings stay
    unchanged.

    The result does not depend on the version of Python, unlike a dump of the syntax tree.

    Raises:
        SyntaxError, ValueError, RecursionError: the text is not valid Python.
    """
    text = io.StringIO(text, newline=None).read()
    tree, lines = ast.parse(text), text.split("\n")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    firsts = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    values = [e.value for e in firsts if isinstance(e, ast.Expr)]
    docstrings = [
        node for node in values if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    cuts = [_span(node, lines) for node in docstrings]
    comments = [
        t
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT
    ]
    cuts += [
        (t.start, t.end) for t in comments if not any(start < t.start < end for start, end in cuts)
    ]
    strings = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant | ast.JoinedStr) and n not in docstrings
    ]
    # all lines but the last
    kept = {line for node in strings for line in range(node.lineno, node.end_lineno or 0)}
    for (first, begin), (last, stop) in sorted(cuts, reverse=True):
        joined = lines[first - 1][:begin] + lines[last - 1][stop:]
        lines[first - 1 : last] = [joined, *[""] * (last - first)]
    # a blank line ends the statement
    kept |= {n for n, before in enumerate(lines, 2) if before.endswith("\\")}
    numbered = [(n in kept, line) for n, line in enumerate(lines, 1)]
    return "\n".join(
        line if keep else line.rstrip() for keep, line in numbered if keep or line.strip()
    )


def _span(node: ast.Constant, lines: list[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where a string starts and ends, in lines and characters; a syntax tree counts bytes of
    UTF-8.
    """
    first, last = node.lineno, node.end_lineno or node.lineno
    begin = lines[first - 1].encode()[: node.col_offset].decode()
    return (first, len(begin)), (
        last,
        len(lines[last - 1].encode()[: node.end_col_offset].decode()),
    )


def _names_of_importers(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return the names of the functions that import a module, and the names of the module
    `importlib`.
    """
    functions = {"__import__"}
    modules = {"importlib"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {
                alias.asname for alias in node.names if alias.name == "importlib" and alias.asname
            }
        elif isinstance(node, ast.ImportFrom) and node.module == "importlib":
            functions |= {
                alias.asname or alias.name for alias in node.names if alias.name == "import_module"
            }
    return functions, modules


def _is_import(function: ast.expr, functions: set[str], modules: set[str]) -> bool:
    if isinstance(function, ast.Name):
        return function.id in functions
    if not isinstance(function, ast.Attribute) or function.attr != "import_module":
        return False
    return isinstance(function.value, ast.Name) and function.value.id in modules


def _imported_by_call(call: ast.Call, package: tuple[str, ...]) -> list[str]:
    """Return the names of the modules that a call of an import function may import; empty if they
    are computed.

    Args:
        package: names of the packages that contain the file.
    """
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    name = call.args[0] if call.args else keywords.pop("name", None)
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return []

    texts = [text for value in (*call.args[1:], *keywords.values()) for text in _texts(value)]
    if name.value.startswith(".") and texts:  # import_module(".part", "package")
        package = tuple(texts[0].split("."))
    module = _absolute(name.value, package)
    candidates = [
        module,
        *(f"{module}.{text}" for text in texts),
    ]  # __import__("package", fromlist=["part"])
    return [candidate for candidate in candidates if candidate.replace(".", "_").isidentifier()]


def _texts(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _absolute(name: str, package: tuple[str, ...]) -> str:
    """Return the absolute name of a module, whose name starts with dots if it is relative to a
    package.
    """
    module = name.lstrip(".")
    level = len(name) - len(module)
    before = package[: len(package) - level + 1] if level else ()
    return ".".join([*before, module] if module else before)
