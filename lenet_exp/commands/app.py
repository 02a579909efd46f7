"""Runs the commands that are Hydra apps, with one-line error messages and a correct exit status."""

from __future__ import annotations

import functools
import math
import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.commands.arguments import (
    checked_arguments,
    overrides_with_search_path,
    without_replaced_overrides,
)
from lenet_exp.commands.ending import print_error, run_and_exit
from lenet_exp.commands.help import help_text
from lenet_exp.config.compose import allow_new_keys
from lenet_exp.config.explain import explain_hydra
from lenet_exp.config.grid import MOST_JOBS, check_size
from lenet_exp.config.hydra_parts import TaskFunction, hydra_app, run_as_hydra
from lenet_exp.config.option_files import default_config_dir, invalid_option_file
from lenet_exp.config.schema import SCHEMAS
from lenet_exp.errors import (
    PLAIN_ERRORS,
    ConfigError,
    RunsFailed,
    UserError,
    did_you_mean,
    from_hydra,
)
from lenet_exp.machine import let_waiting_threads_sleep
from lenet_exp.stopping import raise_stop
from lenet_exp.waiting import READING_OPTIONS


@dataclass
class _TaskResult:
    """The result of a task that Hydra runs.

    Attributes:
        status: exit status.
        error: error that ends the command once Hydra has returned.
    """

    status: int = 0
    error: RunsFailed | OSError | None = None


def run_app(program: str, config_name: str, task: TaskFunction, arguments: list[str]) -> NoReturn:
    """Compose `conf/<config_name>.yaml` with overrides, run `task`, and exit.

    Args:
        program: name of the command.
        config_name: name of the main configuration file, without extension.
        task: function that Hydra calls with the composed configuration.
        arguments: arguments of the command: options and overrides.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    let_waiting_threads_sleep()
    _set_arguments(allow_new_keys(without_replaced_overrides(arguments)))

    def run() -> int:
        return _run(program, config_name, task, full_error)

    run_and_exit(program, run, full_error=full_error)


def _set_arguments(arguments: list[str]) -> None:
    """Replace the arguments of this process.

    `hydra.main` has no parameter for arguments, and reads them from `sys.argv`. Records contain the
    replaced arguments, too (`machine.command_line`).
    """
    sys.argv[1:] = arguments


def _run(program: str, config_name: str, task: TaskFunction, full_error: bool) -> int:
    """Run a task with Hydra and return the exit status."""
    arguments = checked_arguments(program)
    _use_default_config_dir(arguments)
    result = _TaskResult()
    timed_task = _ending_status_line(task)
    if not full_error:
        timed_task = _catching_errors(timed_task, program, result)

    try:
        _check_grid_size(program, arguments.overrides)
        with READING_OPTIONS:
            _run_by_hydra(arguments, config_name, timed_task)
    except (HydraException, OmegaConfBaseException, YAMLError, *PLAIN_ERRORS) as e:
        is_own_error = isinstance(e, PLAIN_ERRORS) and not from_hydra(e)
        if full_error or is_own_error:
            raise
        raise_stop(e)
        problem = None
        if arguments.config_dir:
            problem = invalid_option_file(arguments.config_dir, arguments.overrides)
        raise ConfigError(problem or explain_hydra(e)) from e

    if result.error is not None:
        raise result.error
    return result.status


def _ending_status_line(task: TaskFunction) -> TaskFunction:
    """Return a task that first ends the status line about slow option files."""

    @functools.wraps(task)
    def begin_task(cfg: DictConfig) -> Any:
        READING_OPTIONS.end()
        return task(cfg)

    return begin_task


def _catching_errors(task: TaskFunction, program: str, result: _TaskResult) -> TaskFunction:
    """Return a task that stores errors in `result`, because Hydra would print lines of its own."""

    @functools.wraps(task)
    def caught(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except UserError as e:
            # An error in one job ends the whole sweep.
            if program == "lenet-train" and HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            result.status = print_error(program, str(e))
        except (RunsFailed, OSError) as e:
            if result.error is None:
                result.error = e
        return math.nan

    return caught


def _use_default_config_dir(arguments: Namespace) -> None:
    """Use the option files in ./conf, if there are any, unless a folder is given."""
    if arguments.config_dir is not None:
        return
    completes = arguments.shell_completion
    if default_config_dir(warn=not completes) is None:
        return
    arguments.config_dir = "conf"
    _set_arguments(["--config-dir", "conf", *sys.argv[1:]])
    if not completes:
        print("using option files in ./conf", file=sys.stderr)


def _check_grid_size(program: str, overrides: list[str]) -> None:
    """Check that a grid for Hydra's own sweeper is not too large.

    That sweeper builds a list of all jobs, no matter how long the list becomes.

    Raises:
        ConfigError: the grid has more than `MOST_JOBS` jobs.
    """
    has_range = any("range(" in override for override in overrides)
    uses_hydra_sweeper = program != "lenet-train" or "hydra/sweeper=basic" in overrides
    if has_range and uses_hydra_sweeper:
        check_size(OverridesParser.create().parse_overrides(overrides), MOST_JOBS, "")


def _run_by_hydra(arguments: Namespace, config_name: str, task: TaskFunction) -> None:
    """Run or sweep as `hydra.main` does, or print the help.

    `hydra.main` itself is used only for other options, such as --cfg, --info, and shell completion.
    It is not used to run or sweep, because it prints errors in its own format unless an environment
    variable is set.
    """
    with hydra_app(job_name=config_name) as app:
        overrides = overrides_with_search_path(arguments)
        if arguments.help or arguments.help_all:
            # RUN rejects flags with several values.
            mode = RunMode.MULTIRUN if arguments.multirun else RunMode.RUN
            composed = app.compose_config(
                config_name, overrides, mode, with_log_configuration=False
            )
            print(help_text(composed, SCHEMAS[config_name], everything=arguments.help_all))
            return

        if _runs_or_sweeps(arguments):
            if arguments.multirun or "hydra.mode=MULTIRUN" in overrides:
                app.multirun(config_name, task, [*overrides, "hydra.mode=MULTIRUN"])
            else:
                app.run(config_name, task, [*overrides, "hydra.mode=RUN"])
            return

        if arguments.cfg is not None:
            # Hydra composes it again; this call only raises errors in the configuration.
            composed = app.compose_config(
                config_name, overrides, RunMode.RUN, with_log_configuration=False
            )
            _check_package(composed, arguments)
    run_as_hydra(config_name, task)


def _runs_or_sweeps(arguments: Namespace) -> bool:
    """Return whether a command has no option that only `hydra.main` handles."""
    if arguments.run and arguments.multirun:  # hydra.main rejects them
        return False
    options = (
        arguments.hydra_help,
        arguments.cfg,
        arguments.info,
        arguments.shell_completion,
        arguments.resolve,
    )
    return not any(options)


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
