"""Parses and checks the command lines of the commands that are Hydra apps."""

from __future__ import annotations

import os
import re
import sys
from argparse import Namespace
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from lenet_exp.addresses import hide_password
from lenet_exp.config.code_files.permissions import others_can_change
from lenet_exp.config.compose import quoted
from lenet_exp.config.explain import explain_argument
from lenet_exp.config.hydra_parts import command_line_parser
from lenet_exp.config.own_code import UNSAFE_FOLDERS
from lenet_exp.errors import ConfigError, shortened
from lenet_exp.package_files import config_groups

MOST_DIGITS = 4300  # Python's limit for converting text to an integer
TOO_LONG_NUMBER = re.compile(rf"\d{{{MOST_DIGITS + 1}}}")

# Config groups whose options can be combined: augmentation=[shift,flip].
COMPOSABLE_GROUPS = {"augmentation"}

SEARCH_PATH = "hydra.searchpath=["  # the start of an override that adds folders of option files


def without_replaced_overrides(arguments: list[str]) -> list[str]:
    """Return the arguments without overrides of flags that are set again later, and print a note
    for each of them.

    For example, `lr=1 seed=0 lr=2` becomes `seed=0 lr=2`.
    """
    last_positions: dict[str, int] = {}
    for position, argument in enumerate(arguments):
        last_positions[_overridden_flag(argument)] = position

    kept: list[str] = []
    for position, argument in enumerate(arguments):
        flag = _overridden_flag(argument)
        last_position = last_positions[flag]
        if not flag or position == last_position:
            kept.append(argument)
        elif argument != arguments[last_position]:
            note = f"{argument}: ignored, because {arguments[last_position]} follows"
            print(hide_password(note), file=sys.stderr)
    return kept


def _overridden_flag(argument: str) -> str:
    """Return the flag that an argument sets, or an empty string if it is not an override."""
    if argument.startswith("-") or "=" not in argument:
        return ""
    return argument.partition("=")[0].lstrip("+")


def checked_arguments(program: str) -> Namespace:
    """Parse the command line with Hydra's parser and check the arguments.

    Raises:
        ConfigError: an argument is unknown or not supported, or the overrides are not next to each
            other.
    """
    parser = command_line_parser()
    # The parser's own method also prints the usage.
    parser.error = _refuse  # type: ignore[method-assign]
    parser.add_argument("--help-all", action="store_true")
    parsed, unknown = parser.parse_known_args()

    for argument in unknown:
        if argument.startswith("-"):
            following = dict(pairwise(sys.argv)).get(argument, "")
            _refuse(explain_argument(argument, following))
    _check_options(parsed)
    for override in parsed.overrides:
        _check_override(program, override)
    if unknown:  # argparse requires positional arguments to be next to each other
        _refuse(
            f"{unknown[0]}: must come after -m and all other options, together with the other flags"
        )
    return parsed


def _check_options(parsed: Namespace) -> None:
    if parsed.experimental_rerun is not None:  # argparse also accepts abbreviations of this option
        _refuse(
            "--experimental-rerun: not supported, "
            "because unpickling the file can execute arbitrary code"
        )
    if parsed.config_name is not None or parsed.config_path is not None:
        _refuse(
            "--config-name, --config-path: not supported; "
            "use --config-dir to add your own configuration files"
        )


def _check_override(program: str, override: str) -> None:
    name, sign, value = override.partition("=")
    if TOO_LONG_NUMBER.search(value):
        _refuse(f"{shortened(override)}: must be a number with at most {MOST_DIGITS:,} digits")

    is_file = not sign and os.path.exists(override)
    if program == "lenet-predict" and is_file:
        _refuse(f"{override}: must be written as name=value; did you mean images={override}?")

    if name not in config_groups():
        return
    if "null" in value.split(","):
        _refuse(f"{override}: null is not an option; run with --help to list the options")
    # Hydra would merge the options silently.
    if name not in COMPOSABLE_GROUPS and value.startswith("["):
        hint = ""
        if program == "lenet-train":
            options = value.strip("[]")
            hint = f"; to sweep several, run: lenet-train -m {name}={options}"
        _refuse(f"{override}: must be a single option{hint}")


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)


def overrides_with_search_path(arguments: Namespace) -> list[str]:
    """Return the overrides from the command line, including an override that corresponds to
    `--config-dir`.

    The parent of that folder is added to `sys.path`, because own classes can be in it.

    Raises:
        ConfigError: the folder was not found.
    """
    if arguments.config_dir is None:
        return list(arguments.overrides)
    folder = os.path.abspath(arguments.config_dir)
    if not os.path.isdir(folder):
        raise ConfigError(f"--config-dir {folder}: not found")

    parent = os.path.dirname(folder)
    if others_can_change(Path(parent)):  # their modules must not run
        UNSAFE_FOLDERS.add(Path(parent))
    elif parent not in sys.path:
        sys.path.append(parent)

    overrides: list[str] = []
    search_path = quoted(f"file://{folder}")
    for override in arguments.overrides:
        if override.startswith(SEARCH_PATH):
            folders = override.removeprefix(SEARCH_PATH)[:-1]  # without the closing bracket
            search_path += f",{folders}"
        else:
            overrides.append(override)
    return [*overrides, f"{SEARCH_PATH}{search_path}]"]
