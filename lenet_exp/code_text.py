"""The text of Python files: the digest of what they do, and the modules that they import."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Mapping
from pathlib import PurePosixPath


def digest_of(texts: Mapping[str, str]) -> str:
    """Return the digest of files.

    Args:
        texts: text of each file, as returned by `blanked`, by its path.
    """
    digest = hashlib.sha256()
    for path, text in sorted(texts.items()):
        digest.update(f"{path} {len(text)}\n{text}".encode())
    return digest.hexdigest()


def imported_names(text: str, path: str) -> list[str]:
    """Return the names of the modules that a Python file may import.

    Args:
        path: path of the file in its folder, with which relative imports are resolved.
    """
    package = PurePosixPath(path).parent.parts
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            before = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*before, *([node.module] if node.module else [])])
            names += [name for name in (module, *(f"{module}.{alias.name}" for alias in node.names)) if name]
    return names


def blanked(text: str) -> str:
    """Return Python code without comments, docstrings, and blank lines. Other strings stay unchanged.

    The result does not depend on the version of Python, unlike a dump of the syntax tree.

    Raises:
        SyntaxError, ValueError, RecursionError: the text is not valid Python.
    """
    text = io.StringIO(text, newline=None).read()
    tree, lines = ast.parse(text), text.split("\n")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    firsts = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    values = [e.value for e in firsts if isinstance(e, ast.Expr)]
    docstrings = [node for node in values if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    cuts = [_span(node, lines) for node in docstrings]
    comments = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    cuts += [(t.start, t.end) for t in comments if not any(start < t.start < end for start, end in cuts)]
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant | ast.JoinedStr) and n not in docstrings]
    kept = {line for node in strings for line in range(node.lineno, node.end_lineno or 0)}  # all lines but the last
    for (first, begin), (last, stop) in sorted(cuts, reverse=True):
        joined = lines[first - 1][:begin] + lines[last - 1][stop:]
        lines[first - 1 : last] = [joined, *[""] * (last - first)]
    kept |= {n for n, before in enumerate(lines, 2) if before.endswith("\\")}  # a blank line ends the statement
    numbered = [(n in kept, line) for n, line in enumerate(lines, 1)]
    return "\n".join(line if keep else line.rstrip() for keep, line in numbered if keep or line.strip())


def _span(node: ast.Constant, lines: list[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where a string starts and ends, in lines and characters; a syntax tree counts bytes of UTF-8."""
    first, last = node.lineno, node.end_lineno or node.lineno
    begin = lines[first - 1].encode()[: node.col_offset].decode()
    return (first, len(begin)), (last, len(lines[last - 1].encode()[: node.end_col_offset].decode()))
