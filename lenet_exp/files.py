"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from lenet_exp.errors import ConfigError, nearest

LONGEST_NAME, LONGEST_PATH = 255, 4096 - 256  # bytes; the file system's own, less what is put behind a path of ours
# A disk, or a quota, is full or read-only, or a file is larger than `ulimit -f` lets it be.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}

# What a JSON file holds.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def user_path(text: str) -> Path:
    """A path as a person writes it, with `~` for their home.

    Raises:
        ConfigError: it names the home of a user that there is not, or holds or is as long as no path can.
    """
    try:
        if "\0" in text:
            raise RuntimeError("it has a NUL character")
        path = Path(text).expanduser()
        longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
        if longest > LONGEST_NAME or len(os.fsencode(path.absolute())) > LONGEST_PATH:
            raise RuntimeError("it is longer than the file system takes")
        return path
    except (RuntimeError, UnicodeEncodeError) as e:
        raise ConfigError(f"{text!r}: must be a path ({e})") from e


def output_path(output: str, endings: Sequence[str]) -> Path:
    """The file that a person asks for by `output=`, before it is made.

    Raises:
        ConfigError: it has another ending, or can't be written there.
    """
    path = user_path(output).absolute()
    if path.suffix not in endings:
        hint = nearest(path.suffix, endings)
        meant = f"; did you mean {path.stem}{hint}?" if hint else ""
        raise ConfigError(f"output={output}: must end in {', '.join(endings)}{meant}")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"output={output}: must be a file in an existing, writable folder")
    return path


def write_output(path: Path, content: bytes | str) -> None:
    """As `write_atomic`, of a file that a person asked for by `output=`.

    Raises:
        ConfigError: it can't be written.
    """
    try:
        write_atomic(path, content)
    except OSError as e:
        raise ConfigError(f"output={path}: can't be written ({e.strerror})") from e


def check_regular(path: Path) -> None:
    """Raises:
    OSError: it is no regular file: a pipe would block, a device never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def open_lock(path: Path) -> IO[str]:
    """A file for `flock`, made where there is none.

    Raises:
        OSError: it is no regular file, or can't be written.
    """
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(opened, "r+")


def read_regular(path: Path) -> bytes:
    """Raises:
    OSError: it is no regular file, or can't be read.
    """
    check_regular(path)
    return path.read_bytes()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes aside, fsyncs and renames, so that after a crash the old or the new content is there.

    Raises:
        OSError: it can't be written, or the folder above the file's own is missing.
    """
    path.parent.mkdir(exist_ok=True)  # but not the folders above: an outputs folder that was moved is not made anew
    fd, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException as e:
        Path(aside).unlink(missing_ok=True)
        if isinstance(e, OSError) and e.filename is None:  # writing does not name it
            e.filename = str(path)
        raise


def remove_temporary_files(folder: Path, *, keep: str = "", only: str = "") -> None:
    """Removes what a killed `write_atomic` left in a folder. Whoever calls is the only one who writes those files.

    Args:
        keep: the name of a file that others write.
        only: the name of the only file meant; by default all.
    """
    for aside in folder.iterdir():
        name = aside.name[1:-9]  # of `.<name>.<8 characters>`; submitit's folder is `.submitit`
        if (
            aside.name.startswith(".")
            and aside.name[-9:-8] == "."
            and name not in ("", keep)
            and name == (only or name)
        ):
            aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """As `write_atomic`, for a value of dicts, lists, strings, numbers; NaN is refused (not JSON)."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """As `write_json` writes it."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def from_json(text: bytes | str) -> Any:
    """The value of a JSON text whose numbers are JSON's own and finite.

    Raises:
        ValueError: it is none.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return (_CHECKED if _LARGE.search(text) else _PLAIN).decode(text)
    except RecursionError as e:
        raise ValueError("too deeply nested") from e


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where there is no such file.

    Raises:
        OSError: it is no regular file, or can't be read.
        ValueError: it holds no JSON.
    """
    try:
        return from_json(read_regular(path))
    except FileNotFoundError:
        return None


def remove(path: Path) -> None:
    """Removes whatever is there: a file, a link, a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits:.20} is too large")
    return value


# A function for numbers makes reading slow, and few files have a number that needs it.
_LARGE = re.compile(r"\d[eE]\+?\d{3}|\d{300}")
_PLAIN = json.JSONDecoder(parse_constant=_refuse)
_CHECKED = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)
