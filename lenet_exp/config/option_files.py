"""A user's own option files: their default folder, and checks, so that an error names the file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import yaml

from lenet_exp.cache import is_ours
from lenet_exp.config.package_files import CONF_DIR, config_groups
from lenet_exp.errors import ConfigError
from lenet_exp.files import read_regular


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


def check_option_files(folder: Path, overrides: Sequence[str]) -> None:
    """Check the option files in a folder that the overrides name, before Hydra reads them.

    Hydra reports invalid YAML and unreadable files.

    Raises:
        ConfigError: a file is not encoded in UTF-8, does not contain `key: value` pairs, includes itself, or has
            defaults that are not a list.
    """
    named = {*re.findall(r"[\w-]+", " ".join(overrides))}
    files = chain.from_iterable(folder.glob(f"{group}/*.yaml") for group in (*config_groups(), "hydra/*"))
    for file in (file for file in files if file.stem in named):
        if (problem := _problem(file)) is not None:
            raise ConfigError(f"{file}: {problem}")


def _problem(file: Path) -> str | None:
    try:
        content = yaml.safe_load(read_regular(file).decode())
    except UnicodeDecodeError:
        return "must be encoded in UTF-8"
    except (OSError, RecursionError, yaml.YAMLError):
        return None
    if not isinstance(content, dict):
        return "must contain lines of the form key: value"
    included = content.get("defaults") or []
    if not isinstance(included, list):
        return "its defaults must be a list, such as [other]"
    return "its defaults must not include the file itself" if file.stem in included else None
