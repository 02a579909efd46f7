"""Packages from which copies of the user's own code are imported.

Copies whose files fit together share a package, so a module that several classes of a run import is
imported once. Otherwise, each copy has a package of its own, such as
`lenet_exp_code_<digest>.mine`, so several versions and the user's own imports do not mix.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import resolve_name, spec_from_loader
from pathlib import Path, PurePosixPath
from types import ModuleType

from lenet_exp.code_text import COMPILED, imports_of, text_of
from lenet_exp.files import same_directory
from lenet_exp.outputs import outputs_dir
from lenet_exp.waiting import SlowStep

FOLDER = "code"  # subfolder of the outputs folder that contains the copies
PACKAGE = "lenet_exp_code_"  # start of the name of a package


@dataclass(frozen=True)
class OwnCode:
    """The files of a class.

    Attributes:
        digest: SHA-256 digest of the files' names and contents, without comments, docstrings, and
            blank lines.
        files: content of each file, by its path in the folder from which the class was imported.
    """

    digest: str
    files: Mapping[str, bytes]

    @cached_property
    def modules(self) -> dict[str, str]:
        """The path of each module's file, by the module's name; empty for a folder without
        `__init__.py`.
        """
        modules: dict[str, str] = {}
        namespaces: dict[str, str] = {}
        for path in sorted(map(PurePosixPath, self.files), key=_precedence):
            stem = path.name.partition(".")[0]
            parts = path.parent.parts if stem == "__init__" else (*path.parent.parts, stem)
            modules[".".join(parts)] = str(path)
            for n in range(1, len(parts)):
                namespaces[".".join(parts[:n])] = ""
        return namespaces | modules

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each file, as returned by `text_of`, by the file's path."""
        return {path: text_of(path, content) for path, content in self.files.items()}

    @cached_property
    def imported(self) -> set[str]:
        """The names of all modules that the files may import, and of the packages that contain
        these modules.
        """
        names: set[str] = set()
        for path, content in self.files.items():
            for name in imports_of(path, content).names:
                parts = name.split(".")
                names |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        return names

    def fits(self, other: OwnCode) -> bool:
        """Return whether each name means the same module in both copies, as in copies from one
        folder.
        """
        shared_names = self.modules.keys() & other.modules.keys()
        if any(self.modules[name] != other.modules[name] for name in shared_names):
            return False
        shared_paths = self.files.keys() & other.files.keys()
        if any(self.texts[path] != other.texts[path] for path in shared_paths):
            return False
        return not (self.lacks(other) or other.lacks(self))

    def lacks(self, other: OwnCode) -> bool:
        """Return whether this copy imports a module from elsewhere that the other copy contains."""
        elsewhere = self.imported - self.modules.keys()
        return any(other.modules.get(name) for name in elsewhere)

    def import_module(self, name: str) -> ModuleType:
        """Import a module from this copy of the user's code."""
        full_name = f"{_package_of(self).name}.{name}"
        if full_name in sys.modules:
            return sys.modules[full_name]
        with SlowStep(f"importing {name}"), same_directory():
            return importlib.import_module(full_name)


class _Package:
    """Copies that fit together, whose modules are imported from one package.

    Args:
        name: name of the package.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.codes: list[OwnCode] = []

    def fits(self, code: OwnCode) -> bool:
        """Return whether a copy fits to all copies of the package."""
        return all(map(code.fits, self.codes))

    def code_with(self, module: str) -> OwnCode | None:
        """Return a copy that contains a module; None if the package does not have this module."""
        for code in self.codes:
            if module in code.modules:
                return code
        return None

    def import_statement(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what `__import__` does, but find the modules of this package before others."""
        top = name.partition(".")[0]
        if level or self.code_with(top) is None:
            module = builtins.__import__(name, globals, locals, fromlist, level)
            return self._importlib if module is importlib else module
        module = builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist)
        return module if fromlist else sys.modules[f"{self.name}.{top}"]

    @cached_property
    def _importlib(self) -> ModuleType:
        """The module `importlib`, with an `import_module` that finds the modules of this package
        before others.
        """
        module = ModuleType("importlib")
        vars(module).update(
            import_module=self._import_module, __getattr__=partial(getattr, importlib)
        )
        return module

    def _import_module(self, name: str, package: str | None = None) -> ModuleType:
        absolute = resolve_name(name, package)
        if self.code_with(absolute.partition(".")[0]) is None:
            return importlib.import_module(absolute)
        return importlib.import_module(f"{self.name}.{absolute}")


class _Loader(SourceLoader):
    """Loads a Python module of a copy."""

    def __init__(self, package: _Package, code: OwnCode, folder: Path, path: str) -> None:
        self._package = package
        self._code = code
        self._folder = folder
        self._path = path

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code. Its imports, also those in functions, find the modules of the same
        package.
        """
        vars(module)["__builtins__"] = vars(builtins) | {
            "__import__": self._package.import_statement
        }
        super().exec_module(module)

    def get_filename(self, name: str) -> str:
        """Return the path of the module's file in the copy."""
        return str(self._folder / self._path)

    def get_data(self, path: str) -> bytes:
        """Return the content of a file."""
        return self._code.files[Path(path).relative_to(self._folder).as_posix()]


class _CompiledLoader(ExtensionFileLoader):
    """Loads a compiled module of a copy.

    The system can only load it from a file. The copy in the outputs folder may not exist yet,
    because a class is checked before anything is written. Therefore, each process loads it from a
    temporary file with the same content.
    """

    def __init__(self, name: str, code: OwnCode, folder: Path, path: str) -> None:
        super().__init__(name, str(folder / path))
        self._content = code.files[path]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load the library, which stays in memory after the temporary file is removed."""
        file_name = Path(self.path).name
        if not file_name.endswith(tuple(EXTENSION_SUFFIXES)):
            raise ImportError(
                f"{file_name} was compiled for another version of Python; compile it again"
            )
        with tempfile.TemporaryDirectory(prefix="lenet_exp-") as folder:
            file = Path(folder) / file_name
            file.write_bytes(self._content)
            return super().create_module(ModuleSpec(spec.name, self, origin=str(file)))


class _Finder(MetaPathFinder):
    """Finds the packages of copies and their modules."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the specification of a module; None if no package of copies contains it."""
        top, _, module = name.partition(".")
        package = _PACKAGES.get(top)
        if package is None:
            return None
        if not module:
            return ModuleSpec(name, None, is_package=True)
        code = package.code_with(module)
        if code is None:
            return None
        file = code.modules[module]
        if not file:
            return ModuleSpec(name, None, is_package=True)
        folder = outputs_dir() / FOLDER / code.digest  # for tracebacks; it may not exist yet
        if file.endswith(COMPILED):
            return spec_from_loader(name, _CompiledLoader(name, code, folder, file))
        return spec_from_loader(name, _Loader(package, code, folder, file))


_PACKAGES: dict[str, _Package] = {}  # keyed by name

# The package from which each copy is imported now, keyed by the digest of the copy.
_CURRENT_PACKAGES: dict[str, _Package] = {}

# First, because Python's own finder would import submodules from the outputs folder, without this
# loader's imports.
sys.meta_path.insert(0, _Finder())


def import_together(codes: Sequence[OwnCode]) -> None:
    """Import copies of a run from one package from now on, as far as they fit together.

    A copy can also fit into several packages, if only the other files of their runs differ.
    """
    groups: list[list[OwnCode]] = []
    for code in codes:
        for group in groups:
            if all(map(code.fits, group)):
                group.append(code)
                break
        else:
            groups.append([code])
    for group in groups:
        _import_group(group)


def _import_group(group: Sequence[OwnCode]) -> None:
    """Import copies that fit together from one package: their present one, another that they fit,
    or a new one.
    """
    digests = [code.digest for code in group]
    first_package = _CURRENT_PACKAGES.get(digests[0])
    is_shared = all(_CURRENT_PACKAGES.get(digest) is first_package for digest in digests)
    if first_package is not None and is_shared:
        return

    package = _fitting_package(group) or _new_package(digests)
    for code in group:
        _CURRENT_PACKAGES[code.digest] = package
        if code not in package.codes:
            package.codes.append(code)


def _fitting_package(group: Sequence[OwnCode]) -> _Package | None:
    """Return a package that copies fit; None if there is none."""
    for package in _PACKAGES.values():
        if all(map(package.fits, group)):
            return package
    return None


def _new_package(digests: Sequence[str]) -> _Package:
    if len(digests) == 1:
        digest = digests[0]
    else:
        digest = sha256("".join(digests).encode()).hexdigest()
    package = _Package(f"{PACKAGE}{digest}")
    _PACKAGES[package.name] = package
    return package


def _package_of(code: OwnCode) -> _Package:
    _import_group([code])
    return _CURRENT_PACKAGES[code.digest]


def _precedence(path: PurePosixPath) -> tuple[bool, bool]:
    """Return a sort key: Python prefers packages to other modules, and compiled modules to Python
    files.
    """
    return path.name.startswith("__init__."), path.name.endswith(COMPILED)
