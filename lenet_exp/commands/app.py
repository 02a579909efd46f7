"""Runs the commands that are Hydra apps, with one-line error messages and a correct exit status."""

from __future__ import annotations

import functools
import math
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.addresses import hide_password
from lenet_exp.commands.ending import print_error, run_and_exit
from lenet_exp.commands.help import help_text
from lenet_exp.config.code_files.permissions import others_can_change
from lenet_exp.config.compose import allow_new_keys, quoted
from lenet_exp.config.explain import explain_argument, explain_hydra
from lenet_exp.config.grid import MOST_JOBS, check_size
from lenet_exp.config.hydra_parts import command_line_parser, hydra_app, run_as_hydra
from lenet_exp.config.option_files import default_config_dir, invalid_option_file
from lenet_exp.config.own_code import UNSAFE_FOLDERS
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.schema import SCHEMAS
from lenet_exp.errors import (
    PLAIN_ERRORS,
    ConfigError,
    RunsFailed,
    UserError,
    did_you_mean,
    from_hydra,
    shortened,
)
from lenet_exp.machine import let_waiting_threads_sleep
from lenet_exp.stopping import raise_stop
from lenet_exp.waiting import READING_OPTIONS

MOST_DIGITS = 4300  # Python's limit for converting text to an integer
# config groups whose options can be combined: augmentation=[shift,flip]
COMPOSABLE = {"augmentation"}


def run_app(program: str, config_name: str, task: Callable[[DictConfig], Any]) -> NoReturn:
    """Compose `conf/<config_name>.yaml` with the overrides from the command line, run `task`, and
    exit.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    let_waiting_threads_sleep()
    sys.argv[1:] = allow_new_keys(_last_of_each(sys.argv[1:]))
    run_and_exit(
        program, lambda: _run(program, config_name, task, full_error), full_error=full_error
    )


def _last_of_each(arguments: list[str]) -> list[str]:
    """Return the arguments without overrides of flags that are set again later, and print a note
    for each of them.
    """
    flags = [
        "" if a.startswith("-") or "=" not in a else a.partition("=")[0].lstrip("+")
        for a in arguments
    ]
    last, kept = {flag: arguments[i] for i, flag in enumerate(flags)}, []
    for i, (flag, argument) in enumerate(zip(flags, arguments, strict=True)):
        if not flag or flag not in flags[i + 1 :]:
            kept.append(argument)
        elif argument != last[flag]:
            print(
                hide_password(f"{argument}: ignored, because {last[flag]} follows"), file=sys.stderr
            )
    return kept


def _run(
    program: str, config_name: str, task: Callable[[DictConfig], Any], full_error: bool
) -> int:
    status, failed = 0, list[RunsFailed | OSError]()

    @functools.wraps(task)
    def begin_task(cfg: DictConfig) -> Any:
        READING_OPTIONS.end()
        return task(cfg)

    @functools.wraps(task)
    def caught(cfg: DictConfig) -> Any:  # caught here because Hydra would print its own line
        nonlocal status
        try:
            return begin_task(cfg)
        except UserError as e:
            # raised again
            if program == "lenet-train" and HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            status = print_error(program, str(e))
        except (RunsFailed, OSError) as e:
            failed.append(e)
        return math.nan

    arguments = _checked_arguments(program)
    if (
        arguments.config_dir is None
        and default_config_dir(warn=not arguments.shell_completion) is not None
    ):
        arguments.config_dir = "conf"
        sys.argv[1:1] = [
            "--config-dir",
            "conf",
        ]  # also for Hydra, and for the commands that records contain
        if not arguments.shell_completion:
            print("using option files in ./conf", file=sys.stderr)
    overrides = arguments.overrides
    try:
        if any("range(" in o for o in overrides) and (
            program != "lenet-train" or "hydra/sweeper=basic" in overrides
        ):
            # Hydra's own sweeper builds a list of all jobs, no matter how long the list becomes.
            check_size(OverridesParser.create().parse_overrides(overrides), MOST_JOBS, "")
        with READING_OPTIONS:
            _run_by_hydra(arguments, config_name, begin_task if full_error else caught)
    except (HydraException, OmegaConfBaseException, YAMLError, *PLAIN_ERRORS) as e:
        if full_error or (isinstance(e, PLAIN_ERRORS) and not from_hydra(e)):
            raise
        raise_stop(e)
        problem = (
            invalid_option_file(arguments.config_dir, overrides) if arguments.config_dir else None
        )
        raise ConfigError(problem or explain_hydra(e)) from e
    if failed:
        raise failed[0]
    return status


def _run_by_hydra(
    arguments: Namespace, config_name: str, task: Callable[[DictConfig], Any]
) -> None:
    """Run or sweep as `hydra.main` does, or print the help.

    `hydra.main` itself is used only for other options, such as --cfg, --info, and shell completion.
    It is not used to run or sweep, because it prints errors in its own format unless an environment
    variable is set.
    """
    a = arguments
    others = (a.hydra_help, a.cfg, a.info, a.shell_completion, a.resolve)
    with hydra_app(job_name=config_name) as app:
        overrides = _with_search_path(a)
        if a.help or a.help_all:
            # RUN rejects flags with several values
            mode = RunMode.MULTIRUN if a.multirun else RunMode.RUN
            composed = app.compose_config(
                config_name, overrides, mode, with_log_configuration=False
            )
            print(help_text(composed, SCHEMAS[config_name], everything=a.help_all))
            return
        if not any(others) and not (a.run and a.multirun):
            sweeps = a.multirun or "hydra.mode=MULTIRUN" in overrides
            run = app.multirun if sweeps else app.run
            run(config_name, task, [*overrides, f"hydra.mode={'MULTIRUN' if sweeps else 'RUN'}"])
            return
        if a.cfg is not None:
            # Hydra composes it again; this call only raises errors in the configuration.
            composed = app.compose_config(
                config_name, overrides, RunMode.RUN, with_log_configuration=False
            )
            _check_package(composed, a)
    run_as_hydra(config_name, task)


def _check_package(composed: DictConfig, arguments: Namespace) -> None:
    """Check that the configuration has the part that `--cfg` prints with `--package`.

    Raises:
        ConfigError: the part was not found, or is null.
    """
    package = arguments.package
    if package in (None, "_global_"):
        return
    is_of_hydra = package.partition(".")[0] == "hydra"
    is_printed = arguments.cfg == "all" or is_of_hydra == (arguments.cfg == "hydra")
    if not is_printed or OmegaConf.select(composed, package) is None:
        names = [str(name) for name in composed]
        raise ConfigError(
            f"--package {package}: not found in the configuration{did_you_mean(package, names)}"
        )


def _with_search_path(arguments: Namespace) -> list[str]:
    """Return the overrides from the command line, including an override that corresponds to
    `--config-dir`.

    Raises:
        ConfigError: the folder was not found.
    """
    overrides, key = list(arguments.overrides), "hydra.searchpath=["
    if arguments.config_dir is None:
        return overrides
    folder = os.path.abspath(arguments.config_dir)
    if not os.path.isdir(folder):
        raise ConfigError(f"--config-dir {folder}: not found")
    parent = os.path.dirname(folder)
    if others_can_change(Path(parent)):  # their modules must not run
        UNSAFE_FOLDERS.add(Path(parent))
    elif parent not in sys.path:
        sys.path.append(parent)  # own classes can be next to the folder
    given = "".join(f",{o.removeprefix(key)[:-1]}" for o in overrides if o.startswith(key))
    return [
        *(o for o in overrides if not o.startswith(key)),
        f"{key}{quoted(f'file://{folder}')}{given}]",
    ]


def _checked_arguments(program: str) -> Namespace:
    """Parse the command line with Hydra's parser and check the arguments.

    Raises:
        ConfigError: an argument is unknown or not supported, or the overrides are not next to each
            other.
    """
    parser = command_line_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # the original method also prints the usage
    parser.add_argument("--help-all", action="store_true")
    parsed, unknown = parser.parse_known_args()
    dashed = [a for a in unknown if a.startswith("-")]
    if dashed:
        _refuse(explain_argument(dashed[0], dict(pairwise(sys.argv)).get(dashed[0], "")))
    if parsed.experimental_rerun is not None:  # argparse also accepts abbreviations of this option
        _refuse(
            "--experimental-rerun: not supported, because unpickling the file can execute arbitrary code"
        )
    if parsed.config_name is not None or parsed.config_path is not None:
        _refuse(
            "--config-name, --config-path: not supported; use --config-dir to add your own configuration files"
        )
    for override in parsed.overrides:
        name, sign, value = override.partition("=")
        if re.search(rf"\d{{{MOST_DIGITS + 1}}}", value):
            _refuse(f"{shortened(override)}: must be a number with at most {MOST_DIGITS:,} digits")
        # a file name without `images=`
        if program == "lenet-predict" and not sign and os.path.exists(override):
            _refuse(f"{override}: must be written as name=value; did you mean images={override}?")
        if name in config_groups() and "null" in value.split(","):
            _refuse(f"{override}: null is not an option; run with --help to list the options")
        # Hydra would merge them silently
        if name in set(config_groups()) - COMPOSABLE and value.startswith("["):
            sweep = f"; to sweep several, run: lenet-train -m {name}={value.strip('[]')}"
            _refuse(
                f"{override}: must be a single option{sweep if program == 'lenet-train' else ''}"
            )
    if unknown:  # argparse requires positional arguments to be next to each other
        _refuse(
            f"{unknown[0]}: must come after -m and all other options, together with the other flags"
        )
    return parsed


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)
