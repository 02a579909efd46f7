"""A user's own option files: their default folder, and what is wrong with a file that Hydra cannot
use.
"""

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
from lenet_exp.config.package_files import CONF_DIR, config_groups
from lenet_exp.errors import first_line
from lenet_exp.files import read_regular


def default_config_dir(*, warn: bool = True) -> Path | None:
    """Return the folder `conf` in the working directory if it contains options that only this user
    can change.

    Other users must not be able to add options, because an option can name a class whose code would
    run.

    Args:
        warn: whether to print a warning if the folder contains options but cannot be used.
    """
    folder = Path("conf").absolute()
    options = any(os.path.isdir(folder / group) for group in (*config_groups(), "hydra"))
    if not options or folder.samefile(CONF_DIR):
        return None
    wrong = next((path for path in (folder, *folder.rglob("*")) if not is_ours(path.lstat())), None)
    if wrong is not None and warn:
        print(
            f"./conf: not used, because {_why_not_ours(wrong)}, or add --config-dir conf",
            file=sys.stderr,
        )
    return folder if wrong is None else None


def _why_not_ours(path: Path) -> str:
    """Return why a file or folder is not only this user's, and what to do about it."""
    if path.is_symlink():
        return f"{path} is a symbolic link; replace it with a copy"
    if path.lstat().st_uid != os.geteuid():
        return f"{path} belongs to another user; change its owner"
    return f"{path} can be changed by other users; run chmod -R go-w conf"


def invalid_option_file(config_dir: str, overrides: Sequence[str]) -> str | None:
    """Return a line about the first invalid option file that overrides name; None if all of them
    are valid.

    Hydra's own errors about these problems do not name the file.

    Args:
        config_dir: folder with the user's own option files.
    """
    words = {*re.findall(r"[\w-]+", " ".join(overrides))}
    for group in (*config_groups(), "hydra/*"):
        for file in Path(config_dir).glob(f"{group}/*.yaml"):
            problem = _problem(file) if file.stem in words else None
            if problem is not None:
                return f"{file}: {problem}"
    return None


def _problem(file: Path) -> str | None:
    """Return what is wrong with an option file; None if it is valid, or if Hydra's error names the
    file.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.create(read_regular(file).decode()))
    except UnicodeDecodeError:
        return "must be encoded in UTF-8"
    except (OSError, RecursionError, YAMLError):
        return None
    except (
        OmegaConfBaseException,
        ValueError,
    ) as e:  # such as a null key, or a number with too many digits
        return first_line(e)
    if not isinstance(content, dict):
        return None
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        return "its defaults must be a list, such as [other]"
    return "its defaults must not include the file itself" if file.stem in defaults else None
