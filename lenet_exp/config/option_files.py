"""The default folder for a user's own option files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lenet_exp.cache import is_ours
from lenet_exp.config.package_files import CONF_DIR, config_groups


def default_config_dir(*, warn: bool = True) -> Path | None:
    """Return the folder `conf` in the working directory if it contains options that only this user can change.

    Other users must not be able to add options, because an option can name a class whose code would run.

    Args:
        warn: whether to print a warning if the folder contains options but cannot be used.
    """
    folder = Path("conf").absolute()
    options = any(os.path.isdir(folder / group) for group in (*config_groups(), "hydra"))
    if not options or folder.samefile(CONF_DIR):
        return None
    wrong = next((path for path in (folder, *folder.rglob("*")) if not is_ours(path.lstat())), None)
    if wrong is not None and warn:
        why = f"{wrong} is a link or can be changed by other users"
        print(f"./conf: not used, because {why}; run chmod -R go-w conf, or add --config-dir conf", file=sys.stderr)
    return folder if wrong is None else None
