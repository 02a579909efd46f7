"""The code of the user's own classes: the file of a class and the files that it imports from its
folder.

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

import logging
import os
import re
import shlex
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from types import ModuleType

from lenet_exp.cache import is_writable_by_others
from lenet_exp.code_packages import PACKAGE, OwnCode
from lenet_exp.code_text import COMPILED, digest_of, imports_of, text_of
from lenet_exp.config.class_groups import CODE_KEY, TARGET, is_own, options_of
from lenet_exp.config.schema import Config, Option, with_value
from lenet_exp.errors import ConfigError, first_line

MOST_FILES = 200
MOST_BYTES = 2**20
MOST_COMPILED_BYTES = 2**25
UNSAVED = "unsaved "  # start of the identity of a class without files, for example in a notebook


LOADED_CODE: dict[str, OwnCode] = {}  # the copies that may run in this process, by their digest
# Folders next to `conf` in which classes are not searched, because other users could add modules.
UNSAFE_FOLDERS: set[Path] = set()

log = logging.getLogger("lenet_exp")


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
    """Return a text with the names of modules as in the user's files, without the packages of
    copies.
    """
    return re.sub(rf"{PACKAGE}[0-9a-f]+[.]", "", text)


def is_copied(identity: object) -> bool:
    """Return whether an identity is the digest of copied files."""
    return isinstance(identity, str) and re.fullmatch("[0-9a-f]{64}", identity) is not None


def is_available(target: str, identity: object) -> bool:
    """Return whether a copy that may run in this process contains the module of a class."""
    code = LOADED_CODE.get(str(identity))
    return code is not None and bool(code.modules.get(target.rpartition(".")[0]))


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
    return option | {CODE_KEY: (pinned or {}).get(target) or identity_of(target)}


def with_code(config: Config, pinned: Mapping[str, str] | None = None) -> Config:
    """Return a configuration with the identity of the code of each own class; see `with_code_digest`."""
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
    """Return the digest of the copied files of each own class of configurations, by the path of the
    class.
    """
    options = [option for config in configs for option in options_of(config).values()]
    return {str(o[TARGET]): o[CODE_KEY] for o in options if is_copied(o.get(CODE_KEY))}


def unidentified_classes(config: Config) -> list[str]:
    """Return the paths of own classes without an identity of their code, which release 0.2 did not
    store.
    """
    targets = [
        str(option[TARGET]) for option in options_of(config).values() if CODE_KEY not in option
    ]
    return [target for target in targets if is_own(target)]


@cache
def identity_of(target: str) -> str:
    """Return the identity of a class's code: the digest of its files, or the name and version of
    its package.

    A class without files, such as one that a notebook defines, has a new identity in each process
    and after each `refresh`.

    Raises:
        ConfigError: the files of the class cannot be copied, or other users can change them.
    """
    top, module = target.partition(".")[0], target.rpartition(".")[0]
    found = (finder.find_spec(top, None) for finder in sys.meta_path if top not in {"", "__main__"})
    spec = next((spec for spec in found if spec is not None), None)
    places = (
        [Path(p) for p in (spec.submodule_search_locations or [spec.origin or ""])]
        if spec is not None
        else []
    )
    if any(map(_is_installed, places)) and (names := packages_distributions().get(top)):
        return f"{names[0]} {version(names[0])}"
    for place in (place for place in places if not _is_installed(place)):
        code = _collected(target, place.parent)
        if place.is_absolute() and place.exists():  # not a built-in module or a file in an archive
            problem = others_can_change(place.parent, [place.name, *code.files])
            if problem and not _is_editable_install(top):
                raise ConfigError(f"_target_={target}: {problem}")
        if code.modules.get(module):
            return LOADED_CODE.setdefault(code.digest, code).digest
    return f"{UNSAVED}{uuid.uuid4().hex}"


def refresh() -> None:
    """Read the files of own classes again when they are needed next, because they may have changed."""
    identity_of.cache_clear()


def _is_installed(place: Path) -> bool:
    known = {"site-packages", "dist-packages"} & set(place.parts)
    return bool(known) or place.is_relative_to(sysconfig.get_path("stdlib"))


def check_folder_was_searched(target: str) -> None:
    """Check that a class that was not found is not in a folder that was not searched, because
    others can change it.

    Raises:
        ConfigError: such a folder contains the module of the class.
    """
    top = target.partition(".")[0]
    for folder in UNSAFE_FOLDERS:
        problem = others_can_change(folder)
        if problem and ((folder / top).is_dir() or any(folder.glob(f"{top}.*"))):
            raise ConfigError(f"_target_={target}: cannot be imported, because {problem}")


def _is_editable_install(top: str) -> bool:
    """Return whether a top-level module belongs to a package that was installed with `pip install
    -e`.

    An administrator or this user has chosen to run its code wherever it is.
    """
    names = packages_distributions().get(top, [])
    return any(_is_installed(Path(str(distribution(name).locate_file("")))) for name in names)


def others_can_change(root: Path, files: Iterable[str] = ()) -> str:
    """Return which code other users can change, and what to do about it; empty if only this user
    and root can.

    Args:
        root: folder with the code.
        files: paths of files in this folder. The folders that contain them are checked, too.
    """
    places = {root}
    for file in files:
        places |= {root / part for part in (Path(file), *Path(file).parents)}
    statuses = {place: place.stat() for place in sorted(places)}
    for place, status in statuses.items():
        if status.st_uid not in {os.geteuid(), 0}:
            return f"{place} belongs to another user, who could change the code; copy it to a folder of your own"

    writable = [place for place, status in statuses.items() if is_writable_by_others(status)]
    if not writable:
        return ""
    inside = sorted(
        {str(root / place.relative_to(root).parts[0]) for place in writable if place != root}
    )
    commands = [shlex.join(["chmod", "go-w", str(root)])] if root in writable else []
    commands += [shlex.join(["chmod", "-R", "go-w", *inside])] if inside else []
    return f"{writable[0]} can be changed by other users; run: {' && '.join(commands)}"


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
                raise refuse(
                    f"{path} is a symbolic link to a file outside of {root}; copy the file"
                )
            try:
                files[relative] = path.read_bytes()
                texts[relative] = text_of(relative, files[relative])
                imports = imports_of(relative, files[relative])
            except SyntaxError as e:
                raise refuse(f"{path}, line {e.lineno}: cannot be read ({e.msg})") from e
            except (ValueError, RecursionError, MemoryError, OSError) as e:
                raise refuse(f"{path}: cannot be read ({first_line(e)})") from e
            if _is_too_large(files):
                most = f"{MOST_FILES} files, {MOST_BYTES >> 20} MB of Python code, or "
                most += f"{MOST_COMPILED_BYTES >> 20} MB of compiled modules"
                raise refuse(
                    f"it imports more than {most} from {root}; install the rest as a package"
                )
            waiting += imports.names
            for line in imports.computed:
                _warn_once(
                    f"{path}, line {line}: imports a computed name; changes of that module are not noticed"
                )
        seen.add(name)
    return OwnCode(digest_of(texts), files)


def _is_too_large(files: Mapping[str, bytes]) -> bool:
    compiled = sum(len(content) for path, content in files.items() if path.endswith(COMPILED))
    other = sum(map(len, files.values())) - compiled
    return len(files) > MOST_FILES or other > MOST_BYTES or compiled > MOST_COMPILED_BYTES


@cache
def _warn_once(line: str) -> None:
    log.warning("%s", line)


def _files_of(module: str, root: Path) -> Iterator[Path]:
    """Yield the files of a module and of its packages that a folder contains."""
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:n])
        stems = [folder / "__init__", *([folder] if parts[n - 1] else [])]
        for stem in stems:
            files = (
                stem.with_name(f"{stem.name}{suffix}") for suffix in (".py", *EXTENSION_SUFFIXES)
            )
            yield from (file for file in files if file.is_file())
