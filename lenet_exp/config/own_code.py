"""The code of the user's own classes: the file of a class and the files that it imports from its folder.

The files are read once, when jobs are created. From then on, the class is imported from this copy, in every process, so
that edits during a sweep have no effect. Each copy is a package of its own, such as `lenet_exp_code_<digest>.mine`, so
that several versions and the user's own imports do not mix. `folders/code_folder.py` stores the copy in the outputs
folder.

Not covered are data files next to a class, and modules that are imported by a computed name or from another folder.
"""

from __future__ import annotations

import builtins
import re
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from importlib.util import spec_from_loader
from pathlib import Path, PurePosixPath
from types import ModuleType

from lenet_exp.code_text import blanked, digest_of, imported_names
from lenet_exp.config.class_groups import CODE_KEY, TARGET, is_own, options_of
from lenet_exp.config.schema import Config, Option, with_value
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.outputs import outputs_dir

MOST_FILES, MOST_BYTES = 200, 2**20
FOLDER = "code"  # subfolder of the outputs folder that contains the copies
PACKAGE = "lenet_exp_code_"  # start of the name of a copy's package
UNSAVED = "unsaved "  # start of the identity of a class without files, for example in a notebook


@dataclass(frozen=True)
class OwnCode:
    """The files of a class.

    Attributes:
        digest: SHA-256 digest of the files' names and texts, without comments, docstrings, and blank lines.
        files: content of each file, by its path in the folder from which the class was imported.
    """

    digest: str
    files: Mapping[str, bytes]

    @cached_property
    def modules(self) -> dict[str, str]:
        """The path of each module's file, by the module's name; empty for a folder without `__init__.py`."""
        found: dict[str, str] = {}
        for path in map(PurePosixPath, self.files):
            package = path.name == "__init__.py"
            parts = path.parent.parts if package else (*path.parent.parts, path.stem)
            if package or not found.get(".".join(parts)):  # Python prefers a package to a file of the same name
                found[".".join(parts)] = str(path)
            for n in range(1, len(parts)):
                found.setdefault(".".join(parts[:n]), "")
        return found

    @property
    def package(self) -> str:
        """The name of the package that contains these modules, so that versions and other modules stay apart."""
        return f"{PACKAGE}{self.digest}"

    def import_module(self, name: str) -> ModuleType:
        """Import a module from this copy of the user's code."""
        return import_module(f"{self.package}.{name}")

    def imported(
        self,
        name: str,
        scope: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        names: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what `__import__` does, but find the modules of these files before others."""
        top = name.partition(".")[0]
        if level or top not in self.modules:
            return builtins.__import__(name, scope, local, names, level)
        found = builtins.__import__(f"{self.package}.{name}", scope, local, names)
        return found if names else sys.modules[f"{self.package}.{top}"]


class _Loader(SourceLoader):
    """Loads the modules of an `OwnCode`."""

    def __init__(self, code: OwnCode) -> None:
        self.code = code
        self._folder = outputs_dir() / FOLDER / code.digest

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code. Its `import` statements, also those in functions, find the modules of the same copy."""
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": self.code.imported}
        super().exec_module(module)

    def get_filename(self, name: str) -> str:
        """Return the path of a module's file in the copy."""
        return str(self._folder / self.code.modules[name.partition(".")[2]])

    def get_data(self, path: str) -> bytes:
        """Return the content of a file."""
        return self.code.files[Path(path).relative_to(self._folder).as_posix()]


class _Finder(MetaPathFinder):
    """Finds the packages of known copies and their modules."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the specification of a module; None if no known copy contains it."""
        package, _, module = name.partition(".")
        code = KNOWN.get(package.removeprefix(PACKAGE)) if package.startswith(PACKAGE) else None
        if code is None or (module and module not in code.modules):
            return None
        if code.modules.get(module):
            return spec_from_loader(name, _Loader(code))
        return ModuleSpec(name, None, is_package=True)


sys.meta_path.append(_Finder())
KNOWN: dict[str, OwnCode] = {}  # the copies that may run in this process, by their digest


def import_class_module(target: str, identity: str) -> ModuleType:
    """Import the module of a class, from its copied files if it has any.

    Args:
        target: dotted path of the class.
        identity: identity of the class's code; see `identity_of`.
    """
    module = target.rpartition(".")[0]
    if not is_copied(identity):
        return import_module(module)
    if not is_available(target, identity):
        raise ImportError(f"its code (sha256:{identity}) is not available")
    return KNOWN[identity].import_module(module)


def without_package(text: str) -> str:
    """Return a text with the names of modules as in the user's files, without the packages of copies."""
    return re.sub(rf"{PACKAGE}[0-9a-f]+[.]", "", text)


def is_copied(identity: object) -> bool:
    """Return whether an identity is the digest of copied files."""
    return isinstance(identity, str) and re.fullmatch("[0-9a-f]{64}", identity) is not None


def is_available(target: str, identity: object) -> bool:
    """Return whether a copy that may run in this process contains the module of a class."""
    code = KNOWN.get(str(identity))
    return code is not None and bool(code.modules.get(target.rpartition(".")[0]))


def stamped(option: Option, pinned: Mapping[str, str] | None = None) -> Option:
    """Return an option with the identity of the code of its class, if the class is the user's own.

    Args:
        pinned: identities to use instead of those of the current files, by the path of the class.
    """
    target = str(option.get(TARGET))
    if not is_own(target):
        return without_identity(option)
    if is_copied(option.get(CODE_KEY)):
        return option
    return option | {CODE_KEY: (pinned or {}).get(target) or identity_of(target)}


def with_code(config: Config, pinned: Mapping[str, str] | None = None) -> Config:
    """Return a configuration with the identity of the code of each own class; see `stamped`."""
    return with_options(config, lambda option: stamped(option, pinned))


def without_identity(option: Option) -> Option:
    """Return an option without the identity of its code."""
    return {key: value for key, value in option.items() if key != CODE_KEY}


def with_options(config: Config, change: Callable[..., object]) -> Config:
    """Return a configuration with changed options of classes."""
    for flag, option in options_of(config).items():
        config = with_value(config, flag, change(option))
    return config


def codes(*configs: Config) -> dict[str, str]:
    """Return the digest of the copied files of each own class of configurations, by the path of the class."""
    options = [option for config in configs for option in options_of(config).values()]
    return {str(o[TARGET]): o[CODE_KEY] for o in options if is_copied(o.get(CODE_KEY))}


def unidentified_classes(config: Config) -> list[str]:
    """Return the paths of own classes without an identity of their code, which release 0.2 did not store."""
    targets = [str(option[TARGET]) for option in options_of(config).values() if CODE_KEY not in option]
    return [target for target in targets if is_own(target)]


@cache
def identity_of(target: str) -> str:
    """Return the identity of a class's code: the digest of its files, or the name and version of its package.

    A class without files, such as one that a notebook defines, has a new identity in each process and after each
    `refresh`.

    Raises:
        ConfigError: the files of the class cannot be copied.
    """
    top, module = target.partition(".")[0], target.rpartition(".")[0]
    found = (finder.find_spec(top, None) for finder in sys.meta_path if top not in {"", "__main__"})
    spec = next((spec for spec in found if spec is not None), None)
    places = [Path(p) for p in (spec.submodule_search_locations or [spec.origin or ""])] if spec is not None else []
    if any(map(_is_installed, places)) and (names := packages_distributions().get(top)):
        return f"{names[0]} {version(names[0])}"
    for place in (place for place in places if not _is_installed(place)):
        if (code := _collected(target, place.parent)).modules.get(module):
            return KNOWN.setdefault(code.digest, code).digest
    return f"{UNSAVED}{uuid.uuid4().hex}"


def refresh() -> None:
    """Read the files of own classes again when they are needed next, because they may have changed."""
    identity_of.cache_clear()


def _is_installed(place: Path) -> bool:
    known = {"site-packages", "dist-packages"} & set(place.parts)
    return bool(known) or place.is_relative_to(sysconfig.get_path("stdlib"))


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
            try:
                files[relative] = path.read_bytes()
                texts[relative] = blanked(files[relative].decode("utf-8-sig"))
                waiting += imported_names(files[relative].decode("utf-8-sig"), relative)
            except SyntaxError as e:
                raise refuse(f"{path}, line {e.lineno}: cannot be read ({e.msg})") from e
            except (ValueError, RecursionError, MemoryError, OSError) as e:
                raise refuse(f"{path}: cannot be read ({first_line(e)})") from e
            if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
                most = f"{MOST_FILES} files or {MOST_BYTES >> 20} MB"
                raise refuse(f"it imports more than {most} from {root}; install the rest as a package")
        seen.add(name)
    return OwnCode(digest_of(texts), files)


def _files_of(module: str, root: Path) -> Iterator[Path]:
    """Yield the files of a module and of its packages that a folder contains."""
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:n])
        yield from (p for p in (folder / "__init__.py", folder.with_name(f"{folder.name}.py")) if p.is_file())
