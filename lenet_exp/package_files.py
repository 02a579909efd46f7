"""The package's own files: the folder conf/, its groups, and the digest of all code and options."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lenet_exp.files import files_digest

PACKAGE = Path(__file__).resolve().parent
CODE = {".py", ".cpp", ".h"}  # file types of code


def _conf_dir() -> Path:
    """Return the folder conf/, which is in the package in a wheel and next to it in a checkout."""
    in_wheel = PACKAGE / "conf"
    in_checkout = PACKAGE.parent / "conf"
    for folder in (in_wheel, in_checkout):
        if (folder / "train.yaml").is_file():
            return folder
    return in_wheel


CONF_DIR = _conf_dir()


def config_groups() -> list[str]:
    """Return the names of the config groups, which are the subfolders of conf/."""
    return sorted(path.name for path in CONF_DIR.iterdir() if path.is_dir())


@cache
def source_digest() -> str:
    """Return the SHA-256 digest (hex) of the package's code files and of conf/.

    The digest covers their names and contents. It is computed on first use. An editable install and
    a wheel of the same files have the same digest.
    """
    return files_digest((name, path.read_bytes()) for name, path in sorted(_files()))


def _files() -> Iterator[tuple[str, Path]]:
    """Yield each file that the digest covers, with its name in the digest."""
    for path in PACKAGE.rglob("*"):
        if path.suffix in CODE and CONF_DIR not in path.parents:
            yield f"lenet_exp/{path.relative_to(PACKAGE).as_posix()}", path
    for path in CONF_DIR.rglob("*.yaml"):
        yield f"conf/{path.relative_to(CONF_DIR).as_posix()}", path
