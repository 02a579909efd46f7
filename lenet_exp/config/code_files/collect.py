"""Reads the file of a class, and the files that it imports from its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from lenet_exp.code_packages import OwnCode
from lenet_exp.code_text import COMPILED, Imports, digest_of, imports_of, text_of
from lenet_exp.config.class_groups import is_own
from lenet_exp.errors import ConfigError, first_line

# Limits for the copied files of a class.
MOST_FILES = 200
MOST_BYTES = 2**20
MOST_COMPILED_BYTES = 2**25

log = logging.getLogger("lenet_exp")


def collect_code(target: str, root: Path) -> OwnCode:
    """Read the file of a class and all files that it imports from a folder, directly or not.

    Args:
        target: dotted path of the class, such as `nets.mine.Net`.
        root: folder that contains the top-level module, such as `nets`.

    Raises:
        ConfigError: a file cannot be read, parsed, or copied.
    """
    files: dict[str, bytes] = {}  # by path in `root`
    texts: dict[str, str] = {}
    modules_to_read = [target.rpartition(".")[0]]
    modules_read = set[str]()

    while modules_to_read:
        module = modules_to_read.pop()
        if module in modules_read or not is_own(module):
            continue
        modules_read.add(module)

        for path in _files_of(module, root):
            relative = path.relative_to(root).as_posix()
            if relative in files:
                continue
            if not path.resolve().is_relative_to(root.resolve()):
                problem = f"{path} is a symbolic link to a file outside of {root}; copy the file"
                raise _refusal(target, problem)

            content, text, imports = _read_file(target, path, relative)
            files[relative] = content
            texts[relative] = text
            if _is_too_large(files):
                raise _refusal(
                    target,
                    f"it imports more than {MOST_FILES} files, "
                    f"{MOST_BYTES >> 20} MB of Python code, "
                    f"or {MOST_COMPILED_BYTES >> 20} MB of compiled modules from {root}; "
                    "install the rest as a package",
                )

            modules_to_read += imports.names
            for line in imports.computed:
                _warn_once(
                    f"{path}, line {line}: imports a computed name; "
                    "changes of that module are not noticed"
                )

    return OwnCode(digest_of(texts), files)


def _read_file(target: str, path: Path, relative: str) -> tuple[bytes, str, Imports]:
    """Return the content of a file, the text that its digest covers, and its imports.

    Args:
        target: dotted path of the class that needs the file, for the message.
        relative: path of the file in its root folder.

    Raises:
        ConfigError: the file cannot be read or parsed.
    """
    try:
        content = path.read_bytes()
        text = text_of(relative, content)
        imports = imports_of(relative, content)
    except SyntaxError as e:
        problem = f"{path}, line {e.lineno}: cannot be read ({e.msg})"
        raise _refusal(target, problem) from e
    except (ValueError, RecursionError, MemoryError, OSError) as e:
        raise _refusal(target, f"{path}: cannot be read ({first_line(e)})") from e
    return content, text, imports


def _refusal(target: str, problem: str) -> ConfigError:
    return ConfigError(f"_target_={target}: {problem}")


def _is_too_large(files: Mapping[str, bytes]) -> bool:
    total_bytes = 0
    compiled_bytes = 0
    for path, content in files.items():
        total_bytes += len(content)
        if path.endswith(COMPILED):
            compiled_bytes += len(content)

    if len(files) > MOST_FILES:
        return True
    python_bytes = total_bytes - compiled_bytes
    return python_bytes > MOST_BYTES or compiled_bytes > MOST_COMPILED_BYTES


@cache
def _warn_once(line: str) -> None:
    log.warning("%s", line)


def _files_of(module: str, root: Path) -> Iterator[Path]:
    """Yield the files of a module and of its packages that a folder contains.

    For the module `nets.mine`, these are `nets/__init__.py`, `nets.py`, `nets/mine/__init__.py`,
    and `nets/mine.py`, as far as they exist, and compiled modules of the same names.
    """
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        package = root.joinpath(*parts[:depth])
        stems = [package / "__init__"]
        if parts[depth - 1]:  # empty if a file imports `.`
            stems.append(package)

        for stem in stems:
            for suffix in (".py", *EXTENSION_SUFFIXES):
                file = stem.with_name(f"{stem.name}{suffix}")
                if file.is_file():
                    yield file
