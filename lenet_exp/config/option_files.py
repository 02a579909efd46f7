"""Checks of a user's own option files, so that an error names the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import yaml

from lenet_exp.config.package_files import config_groups
from lenet_exp.errors import ConfigError
from lenet_exp.files import read_regular


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
