"""The code of the user's own classes: the file of a class and the files that it imports from its folder.

The files are read once, when jobs are created. From then on, the class is imported from this copy, in every process, so
that edits during a sweep have no effect. `folders/code_folder.py` stores the copy in the outputs folder.

Not covered are data files next to a class, and modules that are imported by a computed name.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from importlib.util import spec_from_loader
from pathlib import Path, PurePosixPath
from types import ModuleType

from lenet_exp.code_text import blanked, digest_of, imported_names
from lenet_exp.config.class_groups import CLASS_GROUPS, CODE_KEY, TARGET, is_own
from lenet_exp.config.schema import Config, Option
from lenet_exp.errors import ConfigError, first_line

MOST_FILES, MOST_BYTES = 200, 2**20
IMPORTING = ("importlib._bootstrap", "importlib._bootstrap_external", "importlib")  # modules that call finders
UNSAVED = "unsaved "  # start of the identity of a class without files, for example in a notebook


@dataclass(frozen=True)
class OwnCode:
    """The files of a class.

    Attributes:
        digest: SHA-256 digest of the files' names and texts, without comments, docstrings, and blank lines.
        files: content of each file, by its path in the folder from which the class was imported.
        root: folder that contains the files.
    """

    digest: str
    files: Mapping[str, bytes]
    root: Path = field(compare=False)

    @property
    def modules(self) -> dict[str, str]:
        """The path of each module's file, by the module's name; empty for a folder without `__init__.py`."""
        found = {}
        for path in map(PurePosixPath, self.files):
            parts = path.parent.parts if path.name == "__init__.py" else (*path.parent.parts, path.stem)
            found[".".join(parts)] = str(path)
            for n in range(1, len(parts)):
                found.setdefault(".".join(parts[:n]), "")
        return found

    def import_module(self, name: str) -> ModuleType:
        """Import a module from these files, also if a module with its name was imported from other files.

        Modules that the user's own process imported stay in `sys.modules`.
        """
        theirs = {}
        for known in self.modules.keys() & sys.modules.keys():
            loader = getattr(sys.modules[known], "__loader__", None)
            if not isinstance(loader, _Loader):
                theirs[known] = sys.modules.pop(known)
            elif loader.code != self:
                del sys.modules[known]
        finder = next((f for f in sys.meta_path if isinstance(f, _Finder) and f.code == self), _Finder(self))
        sys.meta_path[:] = [finder, *(f for f in sys.meta_path if f is not finder)]
        finder.importing = True
        try:
            return import_module(name)
        finally:
            finder.importing = False
            sys.modules.update(theirs)

    def content(self, module: str) -> bytes:
        """Return the content of a module's file."""
        return self.files[self.modules[module]]


class _Finder(MetaPathFinder):
    """Finds the modules of an `OwnCode`, for `OwnCode.import_module` and for imports in these modules.

    Other code, such as a notebook, keeps importing the current files.
    """

    def __init__(self, code: OwnCode) -> None:
        self.code, self.importing = code, False

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the specification of a module; None if these files do not contain it, or if other code imports it."""
        if name not in self.code.modules or not (self.importing or self._is_imported_by_copy()):
            return None
        loader = _Loader(self.code) if self.code.modules[name] else None
        return spec_from_loader(name, loader) if loader is not None else ModuleSpec(name, None, is_package=True)

    def _is_imported_by_copy(self) -> bool:
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals.get("__name__") in {__name__, *IMPORTING}:
            frame = frame.f_back
        loader = frame.f_globals.get("__loader__") if frame is not None else None
        return isinstance(loader, _Loader) and loader.code == self.code


class _Loader(ExecutionLoader):
    """Loads the modules of an `OwnCode`."""

    def __init__(self, code: OwnCode) -> None:
        self.code = code

    def get_source(self, name: str) -> str:
        """Return the text of a module."""
        return self.code.content(name).decode("utf-8-sig")

    def get_filename(self, name: str) -> str:
        """Return the path of a module's file, for tracebacks."""
        return str(self.code.root / self.code.modules[name])

    def is_package(self, name: str) -> bool:
        """Return whether a module is a package."""
        return self.code.modules[name].endswith("__init__.py")


KNOWN: dict[str, OwnCode] = {}  # the copies that may run in this process, by their digest


def import_class_module(target: str, identity: str) -> ModuleType:
    """Import the module of a class, from its copied files if it has any.

    Args:
        target: dotted path of the class.
        identity: identity of the class's code; see `identity_of`.
    """
    module = target.rpartition(".")[0]
    if is_copied(identity):
        if identity not in KNOWN:
            raise ImportError(f"its code (sha256:{identity}) is not available")
        return KNOWN[identity].import_module(module)
    return import_module(module)


def is_copied(identity: str) -> bool:
    """Return whether an identity is the digest of copied files."""
    return len(identity) == 64 and " " not in identity


def stamped(option: Option, pinned: Mapping[str, str] | None = None) -> Option:
    """Return an option with the identity of the code of its class, if the class is the user's own.

    Args:
        pinned: identities to use instead of those of the current files, by the path of the class.
    """
    target = str(option.get(TARGET))
    if not is_own(target) or CODE_KEY in option:
        return option
    return option | {CODE_KEY: (pinned or {}).get(target) or identity_of(target)}


def with_code(config: Config, pinned: Mapping[str, str] | None = None) -> Config:
    """Return a configuration with the identity of the code of each own class; see `stamped`."""
    return with_options(config, lambda option: stamped(option, pinned))


def without_code(config: Config) -> Config:
    """Return a configuration without the identities of code, as in records of releases before 0.3."""
    return with_options(config, without_identity)


def without_identity(option: Option) -> Option:
    """Return an option without the identity of its code."""
    return {key: value for key, value in option.items() if key != CODE_KEY}


def with_options(config: Config, change: Callable[..., object]) -> Config:
    """Return a configuration with changed options of classes."""
    changed = {g: change(option) for g in CLASS_GROUPS if isinstance(option := getattr(config, g), dict) and option}
    return replace(config, **changed)  # type: ignore[arg-type]


def codes(*configs: Config) -> dict[str, str]:
    """Return the digest of the copied files of each own class of configurations, by the path of the class."""
    options = [o for config in configs for group in CLASS_GROUPS if isinstance(o := getattr(config, group), dict)]
    return {str(o[TARGET]): o[CODE_KEY] for o in options if is_copied(str(o.get(CODE_KEY, "")))}


@cache
def identity_of(target: str) -> str:
    """Return the identity of a class's code: the digest of its files, or the name and version of its package.

    A class without files, such as one that a notebook defines, has a new identity in each process and after each
    `refresh`.

    Raises:
        ConfigError: the files of the class cannot be copied.
    """
    top = target.partition(".")[0]
    spec = PathFinder.find_spec(top)
    places = [p for p in (spec.origin, *(spec.submodule_search_locations or ())) if p] if spec is not None else []
    if top == "__main__" or not places:
        return f"{UNSAVED}{uuid.uuid4().hex}"
    place = Path(places[0])
    if _is_installed(place):
        names = packages_distributions().get(top)
        return f"{names[0]} {version(names[0])}" if names else f"{top} of Python {sys.version_info[0]}"
    root = place.parent.parent if place.name == "__init__.py" else place.parent
    code = _collected(target, root)
    return KNOWN.setdefault(code.digest, code).digest


def refresh() -> None:
    """Read the files of own classes again when they are needed next, because they may have changed."""
    identity_of.cache_clear()


def _is_installed(place: Path) -> bool:
    installed = {"site-packages", "dist-packages"} & set(place.parts)
    return bool(installed) or place.is_relative_to(sysconfig.get_path("stdlib")) or place.suffix not in {".py", ""}


def _collected(target: str, root: Path) -> OwnCode:
    """Read the file of a class and all files that it imports from a folder, directly or not.

    Raises:
        ConfigError: a file cannot be read, parsed, or copied.
    """

    def refuse(problem: str) -> ConfigError:
        return ConfigError(f"_target_={target}: {problem}")

    files: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    waiting, seen = [target.rpartition(".")[0]], set[str]()
    while waiting:
        name = waiting.pop()
        for path in _files_of(name, root) if name not in seen and is_own(name) else ():
            relative = path.relative_to(root).as_posix()
            if relative in files:
                continue
            if not path.resolve().is_relative_to(root.resolve()):
                raise refuse(f"{path} is a symbolic link to a file outside of {root}; copy the file")
            if _hides_library(relative, target, root):
                raise refuse(f"{path} has the name of a library; rename the file")
            try:
                files[relative] = path.read_bytes()
                texts[relative] = blanked(files[relative].decode("utf-8-sig"))
                waiting += imported_names(files[relative].decode("utf-8-sig"), relative)
            except UnicodeDecodeError as e:
                raise refuse(f"{path} must be encoded in UTF-8") from e
            except (SyntaxError, ValueError, RecursionError, OSError) as e:
                where = f", line {e.lineno}" if isinstance(e, SyntaxError) and e.lineno else ""
                raise refuse(f"{path}{where}: cannot be read ({first_line(e)})") from e
            if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
                most = f"{MOST_FILES} files and {MOST_BYTES >> 20} MB"
                raise refuse(f"it imports more than {most} from {root}; install the rest as a package")
        seen.add(name)
    return OwnCode(digest_of(texts), files, root)


def _files_of(module: str, root: Path) -> Iterator[Path]:
    """Yield the files of a module and of its packages that a folder contains."""
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:n])
        yield from (p for p in (folder / "__init__.py", folder.with_name(f"{folder.name}.py")) if p.is_file())


def _hides_library(path: str, target: str, root: Path) -> bool:
    top = PurePosixPath(path).parts[0].removesuffix(".py")
    if top in sys.stdlib_module_names:
        return True
    if top == target.partition(".")[0]:
        return False
    elsewhere = PathFinder.find_spec(top, [p for p in sys.path if Path(p or ".").resolve() != root.resolve()])
    return elsewhere is not None and elsewhere.origin is not None and _is_installed(Path(elsewhere.origin))
