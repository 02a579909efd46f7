"""The user's own code: the digest of what its files do, and the modules that they import."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

# The end of the name of a compiled module, such as fast.cpython-312-x86_64-linux-gnu.so.
COMPILED = ".so"

# The nodes of a syntax tree that can have a docstring.
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# A place in a text: the line, counted from 1, and the character in it, counted from 0.
Position = tuple[int, int]
Span = tuple[Position, Position]  # its start and its end


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
            imported_names = _imported_by_call(node, package)
            names += imported_names
            if not imported_names:
                computed.append(node.lineno)
    return Imports(names, computed)


def blanked(text: str) -> str:
    """Return Python code without comments, docstrings, and blank lines. Other strings stay
    unchanged.

    The result does not depend on the version of Python, unlike a dump of the syntax tree.

    Raises:
        SyntaxError, ValueError, RecursionError: the text is not valid Python.
    """
    text = io.StringIO(text, newline=None).read()  # all line ends become a line feed
    tree = ast.parse(text)
    lines = text.split("\n")
    docstrings = _docstrings(tree)
    spans = [_span(node, lines) for node in docstrings]
    spans += _comment_spans(text, spans)

    # A line that ends within a string stays unchanged, even if it is blank.
    unchanged_lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and node not in docstrings:
            all_but_last = range(node.lineno, node.end_lineno or 0)
            unchanged_lines.update(all_but_last)

    # The last span is removed first, so that the positions of the others stay valid.
    for (first, start), (last, end) in sorted(spans, reverse=True):
        rest = lines[first - 1][:start] + lines[last - 1][end:]
        lines[first - 1 : last] = [rest, *[""] * (last - first)]

    # A blank line after a backslash ends the statement.
    for number, line in enumerate(lines, 1):
        if line.endswith("\\"):
            unchanged_lines.add(number + 1)

    kept_lines: list[str] = []
    for number, line in enumerate(lines, 1):
        if number in unchanged_lines:
            kept_lines.append(line)
        elif line.strip():
            kept_lines.append(line.rstrip())
    return "\n".join(kept_lines)


def _docstrings(tree: ast.Module) -> list[ast.Constant]:
    docstrings: list[ast.Constant] = []
    for node in ast.walk(tree):
        if not isinstance(node, DOCUMENTED) or not node.body:
            continue
        statement = node.body[0]
        if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement.value.value, str):
            docstrings.append(statement.value)
    return docstrings


def _comment_spans(text: str, docstring_spans: Sequence[Span]) -> list[Span]:
    """Return the spans of the comments that are not in a docstring."""
    spans: list[Span] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if not any(start < token.start < end for start, end in docstring_spans):
            spans.append((token.start, token.end))
    return spans


def _span(node: ast.Constant, lines: Sequence[str]) -> Span:
    """Return where a string starts and ends. A syntax tree counts bytes of UTF-8."""
    first = node.lineno
    last = node.end_lineno or node.lineno
    text_before = lines[first - 1].encode()[: node.col_offset].decode()
    text_until_end = lines[last - 1].encode()[: node.end_col_offset].decode()
    return (first, len(text_before)), (last, len(text_until_end))


def _names_of_importers(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return the names of the functions that import a module, and the names of the module
    `importlib`.
    """
    functions = {"__import__"}
    modules = {"importlib"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "importlib" and alias.asname:
                    modules.add(alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module == "importlib":
            for alias in node.names:
                if alias.name == "import_module":
                    functions.add(alias.asname or alias.name)
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
    arguments = list(call.args)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    name = arguments.pop(0) if arguments else keywords.pop("name", None)
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return []

    texts: list[str] = []
    for argument in (*arguments, *keywords.values()):
        texts += _texts(argument)
    if name.value.startswith(".") and texts:  # import_module(".part", "package")
        package = tuple(texts[0].split("."))
    module = _absolute(name.value, package)
    # The texts can be names in a package: __import__("package", fromlist=["part"]).
    candidates = [module, *(f"{module}.{text}" for text in texts)]
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
    parts: list[str] = []
    if level:
        parts += package[: len(package) - level + 1]
    if module:
        parts.append(module)
    return ".".join(parts)
