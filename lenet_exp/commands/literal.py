"""`key=value` as it was typed, for the commands that are no Hydra apps: no grammar, no folder, no quoting."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lenet_exp.commands.ending import run_to_its_end
from lenet_exp.errors import ConfigError, nearest, one_of


def parse(arguments: Sequence[str], known: dict[str, str | None]) -> dict[str, str | None]:
    """The values of `known` flags, with their defaults.

    Raises:
        ConfigError: an argument is no `key=value` of a known key.
    """
    values = dict(known)
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign or key not in known:
            hint = nearest(key.lstrip("-"), known)
            allowed = "allowed is " + ", ".join(f"{k}=" for k in known) if known else "nothing is allowed here"
            raise ConfigError(f"{argument}: {allowed}" + (f"; did you mean {hint}=?" if hint else ""))
        values[key] = value
    return values


def yes_or_no(flag: str, value: str | None) -> bool:
    """Of a flag that is true or false.

    Raises:
        ConfigError: it is neither.
    """
    return one_of(flag, value, ("true", "false")) == "true"


def run_command(program: str, usage: str, main: Callable[[list[str]], int]) -> NoReturn:
    """Runs `main` with the arguments, or prints `usage`; leaves with the exit status."""

    def work() -> int:
        arguments = sys.argv[1:]
        if any(a in {"-h", "--help"} for a in arguments):
            print(usage.strip())
            return 0
        return main(arguments)

    run_to_its_end(program, work)
