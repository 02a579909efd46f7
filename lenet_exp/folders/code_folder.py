"""Copies of the user's own code in an outputs folder: code/<digest>/, which never change.

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
    """Copy the own code of configurations to the outputs folder, unless the copies exist.

    Raises:
        ConfigError: other users can write to the outputs folder, or `code` is not a folder.
        OSError: the files cannot be written.
    """
    digests = set(codes(*configs).values())
    for digest in digests & LOADED_CODE.keys():
        _save_copy(LOADED_CODE[digest], outputs)


def _save_copy(code: OwnCode, outputs: Path) -> None:
    """Copy own code to the outputs folder, unless the copy exists."""
    copy = outputs / FOLDER / code.digest
    if copy.exists():
        return

    outputs.mkdir(mode=0o755, parents=True, exist_ok=True)
    (outputs / FOLDER).mkdir(mode=0o755, exist_ok=True)
    _check_ours(outputs, copy)
    temporary_folder = Path(tempfile.mkdtemp(prefix=".", dir=outputs / FOLDER))
    try:
        _write_files(code, temporary_folder)
        os.rename(temporary_folder, copy)
    except OSError:
        # If the copy exists now, another process has written it in the meantime.
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(temporary_folder, ignore_errors=True)


def _write_files(code: OwnCode, folder: Path) -> None:
    for name, content in code.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o644)

    subfolders = [path for path in folder.rglob("*") if path.is_dir()]
    for path in (folder, *subfolders):
        path.chmod(0o755)


def load_code(digests: Mapping[str, str], outputs: Path) -> None:
    """Check the copies in the user's outputs folder, and make them available in this process.

    If possible, they are imported together.

    Args:
        digests: digest of each copy, by the path of the class.

    Raises:
        ConfigError: a copy is missing, is corrupt, or could have been changed by another user.
    """
    for target, digest in digests.items():
        copy = outputs / FOLDER / digest
        _check_ours(outputs, copy)
        if os.path.lexists(copy):
            code = read_code(copy, digest)
            LOADED_CODE.setdefault(digest, code)
        elif digest not in LOADED_CODE:
            raise ConfigError(f"_target_={target}: its code {copy} was not found")
    import_together([LOADED_CODE[digest] for digest in digests.values()])


def code_of(sweep: SweepFolder) -> dict[str, str]:
    """Make the copies of a sweep's own classes available in this process.

    Returns:
        digest of each copy, by the path of the class.
    """
    digests = sweep.started().code
    load_code(digests, sweep.outputs)
    return digests


def read_code(place: Path, digest: str) -> OwnCode:
    """Read a copy. The caller decides whether it may run.

    Raises:
        ConfigError: the copy does not have this digest.
    """
    try:
        files = {}
        for path in sorted(place.rglob("*")):
            if path.is_file() and path.suffix in {".py", COMPILED}:
                files[path.relative_to(place).as_posix()] = path.read_bytes()

        texts = {name: text_of(name, content) for name, content in files.items()}
        if digest_of(texts) == digest:
            return OwnCode(digest, files)
        reason = "its digest is different"
    except (OSError, ValueError, SyntaxError) as e:
        reason = first_line(e)
    raise ConfigError(
        f"{place} is corrupt ({reason}); to copy the current code again, remove this folder"
    )


def _check_ours(outputs: Path, place: Path) -> None:
    """Check that only this user can write to a copy and the folders above it, as far as they exist.

    The outputs folder and the folder `code` may be links.
    """
    for folder in (outputs, place.parent):
        if not folder.exists():
            continue
        if not folder.is_dir():
            raise ConfigError(f"{folder}: must be a folder, not a file")
        _check_status(folder, folder.stat(), f"chmod go-w {folder}")

    if os.path.lexists(place):
        for path in (place, *place.rglob("*")):
            _check_status(path, path.lstat(), f"chmod -R go-w {place}")


def _check_status(path: Path, status: os.stat_result, repair: str) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{path}: must belong to you, because it contains code that would run")
    if not is_ours(status):
        raise ConfigError(
            f"{path}: must not be writable by other users, because it contains code; run: {repair}"
        )
