"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from lenet_exp.errors import ConfigError


def user_path(text: str) -> Path:
    """A path as a person writes it, with `~` for their home.

    Raises:
        ConfigError: it names the home of a user that there is not, or holds what no path can.
    """
    try:
        if "\0" in text:
            raise RuntimeError("it has a NUL character")
        return Path(text).expanduser()
    except RuntimeError as e:
        raise ConfigError(f"{text!r}: allowed is a path ({e})") from e


def write_asked(path: Path, content: bytes | str) -> None:
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


def read_regular(path: Path) -> bytes:
    """Raises:
    OSError: it is no regular file, or can't be read.
    """
    check_regular(path)
    return path.read_bytes()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes aside, fsyncs and renames, so that after a crash the old or the new content is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def remove_left_aside(folder: Path, *, keep: str = "", only: str = "") -> None:
    """Removes what a killed `write_atomic` left in a folder. Whoever calls is the only one who writes those files.

    Args:
        keep: the name of a file that others write.
        only: the name of the only file meant; by default all.
    """
    for aside in folder.iterdir():
        name = aside.name[1:-9]  # of `.<name>.<8 characters>`
        if aside.name.startswith(".") and aside.name[-9:-8] == "." and name != keep and name == (only or name):
            aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """As `write_atomic`, for a value of dicts, lists, strings, numbers; NaN is refused (not JSON)."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """As `write_json` writes it."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where there is no such file."""
    try:
        return json.loads(read_regular(path))
    except FileNotFoundError:
        return None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
