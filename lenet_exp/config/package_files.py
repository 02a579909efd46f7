"""The package's own files: the folder conf/, its config groups, and the digest of all code and
options.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lenet_exp.files import files_digest

PACKAGE = Path(__file__).resolve().parent.parent
# conf/ is inside the package in a wheel and next to it in a checkout.
CONF_DIR = next(
    (d for d in (PACKAGE / "conf", PACKAGE.parent / "conf") if (d / "train.yaml").is_file()),
    PACKAGE / "conf",
)

CODE = {".py", ".cpp", ".h"}  # file types of code


def config_groups() -> list[str]:
    """Return the names of the config groups, which are the subfolders of conf/."""
    return sorted(p.name for p in CONF_DIR.iterdir() if p.is_dir())


@cache
def source_digest() -> str:
    """Return the SHA-256 digest (hex) of the names and contents of the package's code files and of
    conf/.

    The digest is computed on first use. An editable install and a wheel of the same files have the
    same digest.
    """
    return files_digest((name, path.read_bytes()) for name, path in sorted(_files()))


def _files() -> Iterator[tuple[str, Path]]:
    for path in PACKAGE.rglob("*"):
        if path.suffix in CODE and CONF_DIR not in path.parents:
            yield f"lenet_exp/{path.relative_to(PACKAGE).as_posix()}", path
    for path in CONF_DIR.rglob("*.yaml"):
        yield f"conf/{path.relative_to(CONF_DIR).as_posix()}", path
