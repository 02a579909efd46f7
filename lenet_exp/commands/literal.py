"""Parses `key=value` arguments literally, without a grammar or quoting, for commands that are not
Hydra apps.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lenet_exp.commands.ending import run_and_exit
from lenet_exp.errors import ConfigError, did_you_mean, one_of

YES_OR_NO = ("true", "false")


def parse(arguments: Sequence[str], known: dict[str, str | None]) -> dict[str, str | None]:
    """Parse arguments of the form `flag=value` and return the value of each known flag.

    Args:
        known: default values, keyed by flag.

    Raises:
        ConfigError: an argument is not `flag=value` with a known flag, the value of a Boolean flag
            is neither true nor false, or the address in `tracking.uri=` or MLFLOW_TRACKING_URI is
            invalid.
    """
    values = dict(known)
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign or key not in known:
            flags = [f"{name}=" for name in known]
            allowed = f"expected one of: {', '.join(flags)}" if known else "expected no flags"
            hint = did_you_mean(key.lstrip("-"), flags)
            named = next((flag for flag in known if flag in {"sweep", "run"}), None)
            if not sign and not hint and named and re.fullmatch(r"last|[0-9a-f]{4,32}", argument):
                hint = f"; did you mean {named}={argument}?"
            raise ConfigError(f"{argument}: unknown flag, {allowed}{hint}")
        if known[key] in YES_OR_NO:
            one_of(key, value, YES_OR_NO)
        values[key] = value
    uri = values.get("tracking.uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        from lenet_exp.config.check import check_address

        check_address(uri)
    return values


def run_command(program: str, usage: str | None, main: Callable[[list[str]], int]) -> NoReturn:
    """Run a command, or print its usage; then exit.

    Args:
        program: name of the command.
        usage: usage text that `--help` prints: the docstring of the command's module, which `python
            -OO` removes.
        main: function that runs the command with the arguments and returns the exit status.
    """

    def work() -> int:
        arguments = sys.argv[1:]
        if any(a in {"-h", "--help"} for a in arguments):
            print((usage or "").strip())
            return 0
        return main(arguments)

    run_and_exit(program, work)
