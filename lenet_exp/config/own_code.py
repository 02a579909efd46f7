"""The code of the user's own classes: the file of a class, and what it imports from its folder.

The files are read once, when jobs are created. From then on, the class is imported from this copy,
in every process, so that edits during a sweep have no effect. The copies of a run share a package
(`code_packages.py`), so a module that several of its classes import is imported once.
`folders/code_folder.py` stores the copy in the outputs folder.

Because the code runs, only this user and root may be able to change the files and the folders that
contain them.

Not covered are data files next to a class, and modules that are imported by a computed name, by a
compiled module, or from another folder. A warning names the lines that compute a name.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from types import ModuleType

from lenet_exp.code_packages import PACKAGE, OwnCode
from lenet_exp.config.class_groups import CODE_KEY, TARGET, is_own, options_of
from lenet_exp.config.code_files.collect import collect_code
from lenet_exp.config.code_files.permissions import others_can_change
from lenet_exp.config.flags import with_value
from lenet_exp.config.schema import Config, Option
from lenet_exp.errors import ConfigError

# Start of the identity of a class without files, for example in a notebook.
UNSAVED = "unsaved "

# The copies that may run in this process, by their digest.
LOADED_CODE: dict[str, OwnCode] = {}
# Folders next to `conf` in which classes are not searched, because other users could add modules.
UNSAFE_FOLDERS: set[Path] = set()


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
    return LOADED_CODE[identity].import_module(module)


def without_package(text: str) -> str:
    """Return a text with modules named as in the user's files, without the packages of copies."""
    return re.sub(rf"{PACKAGE}[0-9a-f]+[.]", "", text)


def is_copied(identity: object) -> bool:
    """Return whether an identity is the digest of copied files."""
    if not isinstance(identity, str):
        return False
    return re.fullmatch("[0-9a-f]{64}", identity) is not None


def is_available(target: str, identity: object) -> bool:
    """Return whether a copy that may run in this process contains the module of a class."""
    code = LOADED_CODE.get(str(identity))
    if code is None:
        return False
    module = target.rpartition(".")[0]
    return bool(code.modules.get(module))


def with_code_digest(option: Option, pinned: Mapping[str, str] | None = None) -> Option:
    """Return an option with the identity of the code of its class, if the class is the user's own.

    Args:
        pinned: identities to use instead of those of the current files, by the path of the class.
    """
    target = str(option.get(TARGET))
    if not is_own(target):
        return without_identity(option)
    if is_copied(option.get(CODE_KEY)):
        return option

    identity = pinned.get(target) if pinned is not None else None
    return option | {CODE_KEY: identity or identity_of(target)}


def with_code(config: Config, pinned: Mapping[str, str] | None = None) -> Config:
    """Return a configuration with the identity of each own class; see `with_code_digest`."""
    return with_options(config, lambda option: with_code_digest(option, pinned))


def without_identity(option: Option) -> Option:
    """Return an option without the identity of its code."""
    return {key: value for key, value in option.items() if key != CODE_KEY}


def with_options(config: Config, change: Callable[..., object]) -> Config:
    """Return a configuration with changed options of classes."""
    for flag, option in options_of(config).items():
        config = with_value(config, flag, change(option))
    return config


def codes(*configs: Config) -> dict[str, str]:
    """Return the digest of the copied files of each own class, by the path of the class."""
    digests: dict[str, str] = {}
    for config in configs:
        for option in options_of(config).values():
            identity = option.get(CODE_KEY)
            if is_copied(identity):
                digests[str(option[TARGET])] = str(identity)
    return digests


def unidentified_classes(config: Config) -> list[str]:
    """Return the paths of own classes without an identity, which release 0.2 did not store."""
    unidentified = []
    for option in options_of(config).values():
        if CODE_KEY in option:
            continue
        target = str(option[TARGET])
        if is_own(target):
            unidentified.append(target)
    return unidentified


@cache
def identity_of(target: str) -> str:
    """Return the identity of a class's code.

    The identity is the digest of the class's files or, for a class of an installed package, the
    name and version of the package, such as `timm 1.0.9`. A class without files, such as one that a
    notebook defines, has a new identity in each process and after each `refresh`.

    Raises:
        ConfigError: the files of the class cannot be copied, or other users can change them.
    """
    top = target.partition(".")[0]
    module = target.rpartition(".")[0]
    locations = _locations_of(top)

    if any(map(_is_installed, locations)):
        packages = packages_distributions().get(top)
        if packages:
            package = packages[0]
            return f"{package} {version(package)}"

    for location in locations:
        if _is_installed(location):
            continue
        root = location.parent
        code = collect_code(target, root)
        # A built-in module and a file in an archive have no such path.
        if location.is_absolute() and location.exists():
            problem = others_can_change(root, [location.name, *code.files])
            if problem and not _is_editable_install(top):
                raise ConfigError(f"_target_={target}: {problem}")
        if code.modules.get(module):
            LOADED_CODE.setdefault(code.digest, code)
            return code.digest

    return f"{UNSAVED}{uuid.uuid4().hex}"


def _locations_of(top: str) -> list[Path]:
    """Return the file or the folders of a top-level module; empty if the module is not found."""
    spec = _spec_of(top)
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    if folders:
        return [Path(folder) for folder in folders]
    return [Path(spec.origin or "")]


def _spec_of(top: str) -> ModuleSpec | None:
    """Return the specification of a top-level module, which is not imported."""
    if top in {"", "__main__"}:
        return None
    for finder in sys.meta_path:
        spec = finder.find_spec(top, None)
        if spec is not None:
            return spec
    return None


def refresh() -> None:
    """Let the files of own classes be read again when needed, because they may have changed."""
    identity_of.cache_clear()


def _is_installed(path: Path) -> bool:
    if "site-packages" in path.parts or "dist-packages" in path.parts:
        return True
    return path.is_relative_to(sysconfig.get_path("stdlib"))


def check_folder_was_searched(target: str) -> None:
    """Check that a class that was not found is not in one of the `UNSAFE_FOLDERS`.

    These folders were not searched.

    Raises:
        ConfigError: such a folder contains the module of the class.
    """
    top = target.partition(".")[0]
    for folder in UNSAFE_FOLDERS:
        problem = others_can_change(folder)
        if problem and _contains_module(folder, top):
            raise ConfigError(f"_target_={target}: cannot be imported, because {problem}")


def _contains_module(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or any(folder.glob(f"{name}.*"))


def _is_editable_install(top: str) -> bool:
    """Return whether a top-level module belongs to a package installed with `pip install -e`.

    An administrator or this user has chosen to run its code wherever it is.
    """
    for package in packages_distributions().get(top, []):
        folder = Path(str(distribution(package).locate_file("")))
        if _is_installed(folder):
            return True
    return False
