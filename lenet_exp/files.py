"""Atomic writes and checked reads of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from lenet_exp.errors import ConfigError, nearest

# The limits of the file system, in bytes, minus room for names that are appended to a path.
LONGEST_NAME = 255
LONGEST_PATH = 4096 - 256

# Error numbers for a full or read-only disk, an exceeded quota, or a file larger than `ulimit -f`
# allows.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}

# Type of the content of a JSON file.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def user_path(text: str) -> Path:
    """Return the path that a user typed, with `~` expanded.

    Raises:
        ConfigError: the path refers to the home folder of an unknown user, or is too long.
    """
    try:
        path = Path(text).expanduser()
        longest_name = max((len(os.fsencode(part)) for part in path.parts), default=0)
        length = len(os.fsencode(path.absolute()))
        if longest_name > LONGEST_NAME or length > LONGEST_PATH:
            raise RuntimeError("it is too long for the file system")
        return path
    except (RuntimeError, UnicodeEncodeError) as e:
        raise ConfigError(f"{text!r}: must be a valid path ({e})") from e


@contextmanager
def same_directory() -> Iterator[None]:
    """Restore the working directory at the end of a `with` block, in which the user's own code may
    change it.

    Relative paths depend on the working directory. It may no longer exist, so a descriptor refers
    to it.
    """
    # O_PATH needs no permission to list the directory.
    directory = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        yield
    finally:
        os.fchdir(directory)
        os.close(directory)


def output_path(output: str, endings: Sequence[str]) -> Path:
    """Check that the file that a user specified with `output=` can be written, and return its path.

    Args:
        output: value of the flag `output`.
        endings: allowed file extensions.

    Raises:
        ConfigError: the path has an extension that is not in `endings`, or the file cannot be
            written.
    """
    path = Path(os.path.abspath(user_path(output)))
    if path.suffix.lower() not in endings:
        hint = ""
        nearest_ending = nearest(path.suffix.lower(), endings)
        if nearest_ending:
            hint = f"; did you mean {output.removesuffix(path.suffix)}{nearest_ending}?"
        raise ConfigError(f"output={output}: must end in {' or '.join(endings)}{hint}")

    is_in_writable_folder = path.parent.is_dir() and os.access(path.parent, os.W_OK)
    if path.is_dir() or not is_in_writable_folder:
        raise ConfigError(f"output={output}: must be a file in an existing, writable folder")
    return path


def write_output_file(path: Path, content: bytes | str) -> None:
    """Atomically write the file that a user requested with `output=` (see `write_atomic`).

    Raises:
        ConfigError: the file cannot be written.
        OSError: the disk is full or read-only, so that the command ends with status 1.
    """
    try:
        write_atomic(path, content)
    except OSError as e:
        if e.errno in DISK_ERRORS:
            raise
        raise ConfigError(f"output={path}: cannot be written ({e.strerror})") from e


def check_regular(path: Path) -> None:
    """Check that a path refers to a regular file.

    Reading a pipe could block, and reading a device might never end.

    Raises:
        OSError: the path is not a regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def open_lock(path: Path) -> IO[str]:
    """Open a file for `flock`, creating it if needed.

    Raises:
        OSError: the path is not a regular file, or cannot be written.
    """
    with suppress(FileNotFoundError):
        check_regular(path)
    return path.open("a+")  # shared locks on NFS need a file that can be read


def files_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 digest (hex) of the names and contents of files, in the given order."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the path is not a regular file, or cannot be read.
    """
    check_regular(path)
    return path.read_bytes()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file atomically: after a crash, the file contains either its old or its new content.

    The content is written to a temporary file, synced to disk, and renamed.

    Raises:
        OSError: the file cannot be written, or its folder's parent does not exist.
    """
    # Not `parents=True`, which would re-create an outputs folder that was moved.
    path.parent.mkdir(exist_ok=True)
    temporary_file = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    if isinstance(content, str):
        content = content.encode()
    try:
        with temporary_file.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary_file, path)
    except BaseException as e:
        temporary_file.unlink(missing_ok=True)
        if isinstance(e, OSError) and e.filename is None:  # write errors lack the file's name
            e.filename = str(path)
        raise


def remove_temporary_files(folder: Path, *, keep: str = "", only: str = "") -> None:
    """Remove the temporary files that a killed `write_atomic` left in a folder.

    The caller must be the only process that writes these files.

    Args:
        keep: name of a file whose temporary files are kept, because other processes write it.
        only: name of the only file whose temporary files are removed; by default, all temporary
            files are removed.
    """
    for file in folder.glob(".*.????????"):
        name = file.name[1:-9]  # temporary files are named `.<name>.<8 characters>`
        if name in ("", keep):
            continue
        if not only or name == only:
            file.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Atomically write a value to a JSON file.

    Raises:
        ValueError: the value contains NaN or infinity, which JSON does not support.
        OSError: see `write_atomic`.
    """
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """Return the JSON text that `write_json` writes for a value."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def from_json(text: bytes | str) -> Any:
    """Parse a JSON text, without the constants NaN and Infinity that Python's parser accepts, and
    return the value.

    Raises:
        ValueError: the text is not valid JSON.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as e:
        raise ValueError("too deeply nested") from e


def read_json(path: Path) -> Any:
    """Return the value in a JSON file, or None if the file does not exist.

    Raises:
        OSError: the path is not a regular file, or cannot be read.
        ValueError: the content is not valid JSON.
    """
    try:
        return from_json(read_regular(path))
    except FileNotFoundError:
        return None


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not valid JSON")
