"""Copies of the user's own code in an outputs folder: code/<digest>/, written once and never
changed.

Importing a copy runs it. Therefore, a copy is used only if this user owns the outputs folder, the
copy, and its files, and no other user can write to them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lenet_exp.cache import is_ours
from lenet_exp.code_packages import FOLDER, OwnCode, import_together
from lenet_exp.code_text import COMPILED, digest_of, text_of
from lenet_exp.config.own_code import LOADED_CODE, codes
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.folders.sweep_folder import SweepFolder


def save_code(configs: Iterable[Config], outputs: Path) -> None:
    """Copy the own code of configurations to the outputs folder, unless the folder already contains
    it.

    Raises:
        ConfigError: other users can write to the outputs folder, or `code` is not a folder.
        OSError: the files cannot be written.
    """
    for code in (
        LOADED_CODE[digest] for digest in {*codes(*configs).values()} & LOADED_CODE.keys()
    ):
        place = outputs / FOLDER / code.digest
        if not place.exists():
            outputs.mkdir(mode=0o755, parents=True, exist_ok=True)
            (outputs / FOLDER).mkdir(mode=0o755, exist_ok=True)
            _check_ours(outputs, place)
            aside = Path(tempfile.mkdtemp(prefix=".", dir=outputs / FOLDER))
            try:
                for name, content in code.files.items():
                    file = aside / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                    file.chmod(0o644)
                for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
                    folder.chmod(0o755)
                os.rename(aside, place)
            except OSError:
                if not place.exists():  # otherwise, another process has copied it in the meantime
                    raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)


def load_code(wanted: Mapping[str, str], outputs: Path) -> None:
    """Check the copies in the user's outputs folder, and make them available in this process, if
    possible together.

    Args:
        wanted: digest of each copy, by the path of the class.

    Raises:
        ConfigError: a copy is missing, is corrupt, or could have been changed by another user.
    """
    for target, digest in wanted.items():
        place = outputs / FOLDER / digest
        _check_ours(outputs, place)
        if os.path.lexists(place):
            LOADED_CODE.setdefault(digest, read_code(place, digest))
        elif digest not in LOADED_CODE:
            raise ConfigError(f"_target_={target}: its code {place} was not found")
    import_together([LOADED_CODE[digest] for digest in wanted.values()])


def code_of(sweep: SweepFolder) -> dict[str, str]:
    """Return the digest of the copy of each own class of a sweep, and make these copies available
    in this process.
    """
    wanted = sweep.started().code
    load_code(wanted, sweep.outputs)
    return wanted


def read_code(place: Path, digest: str) -> OwnCode:
    """Read a copy. The caller decides whether it may run.

    Raises:
        ConfigError: the copy does not have this digest.
    """
    try:
        paths = sorted(
            path for path in place.rglob("*") if path.is_file() and path.suffix in {".py", COMPILED}
        )
        files = {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
        if digest_of({name: text_of(name, content) for name, content in files.items()}) == digest:
            return OwnCode(digest, files)
        why = "its digest is different"
    except (OSError, ValueError, SyntaxError) as e:
        why = first_line(e)
    raise ConfigError(
        f"{place} is corrupt ({why}); to copy the current code again, remove this folder"
    )


def _check_ours(outputs: Path, place: Path) -> None:
    """Check that only this user can write to a copy and the folders above it, as far as they exist.

    The outputs folder and the folder `code` may be links.
    """
    for path in filter(Path.exists, (outputs, place.parent)):
        if not path.is_dir():
            raise ConfigError(f"{path}: must be a folder, not a file")
        _check_status(path, path.stat(), f"chmod go-w {path}")
    for path in [place, *place.rglob("*")] if os.path.lexists(place) else []:
        _check_status(path, path.lstat(), f"chmod -R go-w {place}")


def _check_status(path: Path, status: os.stat_result, repair: str) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{path}: must belong to you, because it contains code that would run")
    if not is_ours(status):
        raise ConfigError(
            f"{path}: must not be writable by other users, because it contains code; run: {repair}"
        )
