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

BOOLEANS = ("true", "false")

# The values of flags, or their defaults, keyed by flag. A Boolean flag has the default true or
# false.
FlagValues = dict[str, str | None]


def parse(arguments: Sequence[str], defaults: FlagValues) -> FlagValues:
    """Parse arguments of the form `flag=value` and return the value of each known flag.

    Args:
        defaults: default values of all known flags.

    Raises:
        ConfigError: an argument is not `flag=value` with a known flag, the value of a Boolean flag
            is neither true nor false, or the address in `tracking.uri=` or MLFLOW_TRACKING_URI is
            invalid.
    """
    values = dict(defaults)
    for argument in arguments:
        flag, sign, value = argument.partition("=")
        if not sign or flag not in defaults:
            raise ConfigError(_unknown_flag(argument, list(defaults)))
        if defaults[flag] in BOOLEANS:
            one_of(flag, value, BOOLEANS)
        values[flag] = value

    uri = values.get("tracking.uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        from lenet_exp.config.check import check_address

        check_address(uri)
    return values


def _unknown_flag(argument: str, known_flags: Sequence[str]) -> str:
    """Return an error message about an argument that is not a known flag with a value."""
    flag, sign, _ = argument.partition("=")
    choices = [f"{name}=" for name in known_flags]
    expected = f"expected one of: {', '.join(choices)}" if known_flags else "expected no flags"
    hint = did_you_mean(flag.lstrip("-"), choices)
    if not hint and not sign and re.fullmatch(r"last|[0-9a-f]{4,32}", argument):
        # The argument is probably the ID of a sweep or a run.
        for name in known_flags:
            if name in {"sweep", "run"}:
                hint = f"; did you mean {name}={argument}?"
                break
    return f"{argument}: unknown flag, {expected}{hint}"


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
        if "-h" in arguments or "--help" in arguments:
            print((usage or "").strip())
            return 0
        return main(arguments)

    run_and_exit(program, work)
