"""`key=value` as it was typed, for the commands that are no Hydra apps: no grammar, no folder, no quoting."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lenet_exp.errors import ConfigError, UserError, nearest

EXIT_WRONG = 2


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


def run_command(program: str, usage: str, main: Callable[[list[str]], int]) -> NoReturn:
    """Runs `main` with the arguments; what a person got wrong is one line and status 2."""
    atexit.register(gc.freeze)  # as in cli.run_app
    arguments = sys.argv[1:]
    if any(a in {"-h", "--help"} for a in arguments):
        print(usage.strip())
        sys.exit(0)
    try:
        status = main(arguments)
        sys.stdout.flush()
    except UserError as e:
        print(f"{program}: {' '.join(str(e).split())}", file=sys.stderr)
        status = EXIT_WRONG
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        status = 130
    sys.exit(status)
