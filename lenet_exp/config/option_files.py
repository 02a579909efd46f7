"""A user's own option files: their default folder, and problems of files that Hydra cannot use."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.cache import is_ours
from lenet_exp.errors import first_line
from lenet_exp.files import read_regular
from lenet_exp.package_files import CONF_DIR, config_groups


def default_config_dir(*, warn: bool = True) -> Path | None:
    """Return the folder `conf` in the working directory, or None.

    The result is None if the folder contains no options, or if it is not only this user's. Other
    users must not be able to add options, because an option can name a class whose code would run.

    Args:
        warn: whether to print a warning if the folder contains options but cannot be used.
    """
    folder = Path("conf").absolute()
    groups = [*config_groups(), "hydra"]
    has_options = any(os.path.isdir(folder / group) for group in groups)
    if not has_options or folder.samefile(CONF_DIR):
        return None

    for path in (folder, *folder.rglob("*")):
        if is_ours(path.lstat()):
            continue
        if warn:
            print(
                f"./conf: not used, because {_why_not_ours(path)}, or add --config-dir conf",
                file=sys.stderr,
            )
        return None
    return folder


def _why_not_ours(path: Path) -> str:
    """Return why a file or folder is not only this user's, and what to do about it."""
    if path.is_symlink():
        return f"{path} is a symbolic link; replace it with a copy"
    if path.lstat().st_uid != os.geteuid():
        return f"{path} belongs to another user; change its owner"
    return f"{path} can be changed by other users; run chmod -R go-w conf"


def invalid_option_file(config_dir: str, overrides: Sequence[str]) -> str | None:
    """Return a line about the first invalid option file that overrides name, or None.

    Hydra's own errors about these problems do not name the file.

    Args:
        config_dir: folder with the user's own option files.
    """
    words = set(re.findall(r"[\w-]+", " ".join(overrides)))
    for group in (*config_groups(), "hydra/*"):
        for file in Path(config_dir).glob(f"{group}/*.yaml"):
            if file.stem not in words:
                continue
            problem = _problem(file)
            if problem is not None:
                return f"{file}: {problem}"
    return None


def _problem(file: Path) -> str | None:
    """Return what is wrong with an option file.

    Returns:
        None if the file is valid, or if Hydra's own error names it.
    """
    try:
        text = read_regular(file).decode()
        content = OmegaConf.to_container(OmegaConf.create(text))
    except UnicodeDecodeError:
        return "must be encoded in UTF-8"
    except (OSError, RecursionError, YAMLError):
        return None
    except (OmegaConfBaseException, ValueError) as e:  # a null key, or a number with many digits
        return first_line(e)

    if not isinstance(content, dict):
        return None
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        return "its defaults must be a list, such as [other]"
    if file.stem in defaults:
        return "its defaults must not include the file itself"
    return None
