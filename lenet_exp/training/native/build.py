"""The kernels' library for this machine: compiled once, kept in a folder of the user's own, checked before use.

Opening a library runs its code, so nothing is opened that others could have written: folder and files have to belong
to this user, with no right of others to write, and the library to have the digest that was noted when it was built.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.cache import NoCache, cache_folder, claim_folder, is_ours
from lenet_exp.files import open_lock, read_regular, write_atomic
from lenet_exp.training.native.compiler import COMPILE_SECONDS, Compiler, CompilerError, find_compilers
from lenet_exp.training.native.target import Target, find_target

KERNELS = Path(__file__).with_name("kernels")
SOURCE = "engine.cpp"
KEPT = "native"

log = logging.getLogger("lenet_exp")


class BuildError(Exception):
    """There is no library; the message is half a line that says why."""


@dataclass(frozen=True)
class Library:
    """A file, and for which CPUs and by what it was built: `avx512, g++ (Debian 12.4.0-5) 12.4.0`."""

    path: Path
    built: str


def build(folder: Path | None = None) -> Library:
    """The library, built by the first compiler that can.

    Args:
        folder: where libraries are kept; by default `cache_folder(KEPT)`.

    Raises:
        BuildError: the CPU or the folder is not fit for it, or no compiler can build it.
    """
    target = find_target()
    if isinstance(target, str):
        raise BuildError(target)
    try:
        folder = cache_folder(KEPT) if folder is None else folder
        claim_folder(folder)
    except NoCache as e:
        raise BuildError(str(e)) from e
    refused = []
    for compiler in find_compilers():
        try:
            path = build_with(folder, compiler, target)
            return Library(path, f"{target.name}, {compiler.says}")
        except CompilerError as e:
            refused.append(f"{compiler.name}: {e}")
        except OSError as e:
            raise BuildError(f"{e.filename or folder} can't be used ({e.strerror})") from e
    raise BuildError(
        "; ".join(refused) or "there is no C++ compiler ($CXX, clang++, g++, or `pip install 'lenet_exp[native]'`)"
    )


def sources() -> Iterator[tuple[str, bytes]]:
    """Name and content of each of the kernels' files."""
    for file in sorted(KERNELS.iterdir()):
        if file.suffix in {".h", ".cpp"}:
            yield file.name, file.read_bytes()


def build_with(folder: Path, compiler: Compiler, target: Target) -> Path:
    """The library of one compiler.

    Args:
        folder: of this user alone, and there.

    Raises:
        CompilerError: it can't build it.
        OSError: the folder can't be written.
    """
    what = [
        ("compiler", compiler.version.encode()),
        ("flags", " ".join(compiler.arguments(target)).encode()),
        *sources(),
    ]
    library = folder / f"{target.name}-{_digest(what)}.so"
    if _checked(library):
        return library
    with _locked(library.with_suffix(".lock")):
        if not _checked(library):  # another process may have built it meanwhile
            _compile(library, compiler, target)
    if not _checked(library):
        raise CompilerError(f"{library} is not what was built")
    return library


def _compile(library: Path, compiler: Compiler, target: Target) -> None:
    """Aside, then in place, then its digest: only with that it counts."""
    aside = library.with_suffix(".building")
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    aside.mkdir(mode=0o700)
    start = time.monotonic()
    log.info("compiling the native engine for %s with %s, once on this machine", target.name, compiler.name)
    try:
        compiler.compile(KERNELS / SOURCE, aside / library.name, target, COMPILE_SECONDS)
        content = (aside / library.name).read_bytes()
    except FileNotFoundError as e:
        raise CompilerError("it says that all is well, and wrote nothing") from e
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _note(library).unlink(missing_ok=True)
    write_atomic(library, content)
    os.chmod(library, 0o600)
    write_atomic(_note(library), _digest([("library", content)]))
    os.chmod(_note(library), 0o600)
    log.info("compiled in %.0f s", time.monotonic() - start)


def _note(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _checked(library: Path) -> bool:
    """Whether a library is there, whole and ours."""
    try:
        if not all(is_ours(file.lstat()) for file in (library, _note(library))):
            return False
        return read_regular(_note(library)).decode(errors="replace") == _digest([("library", read_regular(library))])
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for whoever else builds it, and says so."""
    with open_lock(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting: another process compiles the native engine")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(parts: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32]
