"""The kernels' library for this machine: compiled once, and verified before each use.

Opening a library runs its code. Therefore, the folder and its files must belong to this user and
must not be writable by others. The library must match the digest that was recorded when it was
built.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.cache import NoCache, cache_folder, claim_folder, is_ours
from lenet_exp.files import files_digest, open_lock, read_regular, write_atomic
from lenet_exp.training.native.compiler import Compiler, CompilerError, find_compilers
from lenet_exp.training.native.layout import LENET5, NativeShape
from lenet_exp.training.native.target import Target, find_target

KERNELS = Path(__file__).with_name("kernels")
SOURCE = "engine.cpp"
KEPT = "native"  # name of the cache folder
DIGITS = 32  # number of digits of the digests

log = logging.getLogger("lenet_exp")


class BuildError(Exception):
    """Raised if the library cannot be built; the message is a short phrase with the reason."""


@dataclass(frozen=True)
class Library:
    """The compiled library of the kernels.

    Attributes:
        path: path of the library file.
        built: CPU type and compiler, such as `avx512, g++ (Debian 12.4.0-5) 12.4.0`.
    """

    path: Path
    built: str


def build(folder: Path | None = None, shape: NativeShape = LENET5) -> Library:
    """Return the kernels' library. If needed, build it with the first working compiler.

    Args:
        folder: folder in which libraries are stored; by default, `cache_folder(KEPT)`.
        shape: shape of the networks that the library trains.

    Raises:
        BuildError: the CPU or the folder is unsuitable, or no compiler can build the library.
    """
    target = find_target()
    if isinstance(target, str):
        raise BuildError(target)

    try:
        folder = cache_folder(KEPT) if folder is None else folder
        claim_folder(folder)
    except NoCache as e:
        raise BuildError(str(e)) from e

    errors = []
    for compiler in find_compilers():
        try:
            path = build_with(folder, compiler, target, shape)
            return Library(path, f"{target.name}, {compiler.says}")
        except CompilerError as e:
            errors.append(f"{compiler.name}: {e}")
        except OSError as e:
            raise BuildError(f"{e.filename or folder} cannot be used ({e.strerror})") from e

    if errors:
        raise BuildError("; ".join(errors))
    raise BuildError(
        "no C++ compiler was found "
        "(set $CXX, install clang++ or g++, or run: pip install 'lenet_exp[native]')"
    )


def sources() -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each source file of the kernels."""
    for file in sorted(KERNELS.iterdir()):
        if file.suffix in {".h", ".cpp"}:
            yield file.name, file.read_bytes()


def is_built(shape: NativeShape) -> bool:
    """Return whether the cache contains the library for a shape, so `build` would not compile
    it.
    """
    target = find_target()
    compiler = next(find_compilers(), None)
    if isinstance(target, str) or compiler is None:
        return False
    return _path(cache_folder(KEPT), compiler, target, shape).exists()


def build_with(
    folder: Path, compiler: Compiler, target: Target, shape: NativeShape = LENET5
) -> Path:
    """Return the path of a library built by one compiler, from the cache if possible.

    Args:
        folder: an existing private folder, in which libraries are cached.
        compiler: compiler to use.
        target: instruction set to compile for.
        shape: shape of the networks that the library trains.

    Raises:
        CompilerError: the compiler cannot build the library, or the library has changed since it
            was built.
        OSError: the folder cannot be written to.
    """
    library = _path(folder, compiler, target, shape)
    if _is_intact(library):
        return library
    with _locked(library.with_suffix(".lock")):
        if not _is_intact(library):  # another process may have built it in the meantime
            _compile(library, compiler, target, shape)
    if not _is_intact(library):
        raise CompilerError(f"{library} has changed since it was built")
    return library


def _path(folder: Path, compiler: Compiler, target: Target, shape: NativeShape) -> Path:
    """Return the path of a library.

    The name contains a digest of everything that affects the content.
    """
    flags = " ".join(compiler.arguments(target, *shape.definitions))
    parts = [("compiler", compiler.version.encode()), ("flags", flags.encode()), *sources()]
    return folder / f"{target.name}-{files_digest(parts)[:DIGITS]}.so"


def _compile(library: Path, compiler: Compiler, target: Target, shape: NativeShape) -> None:
    """Compile the library in a temporary folder, move it to its final path, and write its digest.

    The digest is written last, because a library without a digest is never used.
    """
    temporary = library.with_suffix(".building")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    temporary.mkdir(mode=0o700)
    start = time.monotonic()
    log.info(
        "compiling the native engine for %s with %s (once per shape of the network)",
        target.name,
        compiler.name,
    )
    try:
        compiled = temporary / library.name
        compiler.compile(KERNELS / SOURCE, compiled, target, *shape.definitions)
        if not compiled.exists():
            raise CompilerError("succeeded but wrote no library")
        content = compiled.read_bytes()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

    digest_file = _digest_file(library)
    digest_file.unlink(missing_ok=True)
    write_atomic(library, content)
    os.chmod(library, 0o600)
    write_atomic(digest_file, _digest(content))
    os.chmod(digest_file, 0o600)
    log.info("compiled in %.0f s", time.monotonic() - start)


def _digest_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock for the duration of a `with` block, and log it if another process holds it."""
    with open_lock(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process to compile the native engine")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(library: bytes) -> str:
    return files_digest([("library", library)])[:DIGITS]


def _is_intact(library: Path) -> bool:
    """Return whether a library exists, belongs to this user, and matches its digest."""
    digest_file = _digest_file(library)
    try:
        if not is_ours(library.lstat()) or not is_ours(digest_file.lstat()):
            return False
        digest = read_regular(digest_file).decode(errors="replace")
        return digest == _digest(read_regular(library))
    except OSError:
        return False
