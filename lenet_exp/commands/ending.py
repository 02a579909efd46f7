"""How a command ends: what a person got wrong is one line, and the exit status is true."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from lenet_exp.addresses import hide_password
from lenet_exp.commands.streams import guard_streams, discard_rest
from lenet_exp.errors import ConfigError, RunsFailed, UserError, printable
from lenet_exp.files import DISK_ERRORS
from lenet_exp.machine import versions
from lenet_exp.outputs import outputs_dir
from lenet_exp.stopping import Terminated, raise_terminated, skip_gc_at_exit

EXIT_FAILED = 1
EXIT_WRONG = 2
PERMISSION_ERRORS = {errno.EACCES, errno.EPERM}

LONGEST_WORD = 300  # of a message; who typed a longer one knows it by its beginning


def run_and_exit(program: str, work: Callable[[], int], *, full_error: bool = False) -> NoReturn:
    """Runs `work` and leaves with its exit status.

    0 fine; 1 a run failed or diverged, or standard output could not be written; 2 what was asked for is wrong (one line
    on stderr); 130, 143 on SIGINT, SIGTERM. lenet-reproduce: 0 identical, 1 differs, 3 not comparable.

    Args:
        full_error: shows the traceback of what was wrong instead of the line.
    """
    skip_gc_at_exit()
    signal.signal(signal.SIGTERM, raise_terminated)
    out, err = guard_streams()
    try:
        if "--version" in sys.argv[1:]:
            print(f"{program} {versions()['lenet_exp']}")
            sys.exit(0)
        _check_directory()
        status = work()
    except UserError as e:
        if full_error:
            raise
        status = print_error(program, str(e))
    except RunsFailed:
        status = EXIT_FAILED
    except SystemExit as e:  # Hydra's own, after --help
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    except OSError as e:
        why = _lost(e)
        if why is None or full_error:
            raise
        status = _say(f"{program}: {why}", EXIT_FAILED)
    except KeyboardInterrupt:
        status = _say(f"{program}: stopped", 130)
    except Terminated:
        status = _say(f"{program}: terminated", 143)
    out.flush()
    if out.error is not None and not isinstance(out.error, BrokenPipeError):  # `| head` has seen enough
        _say(f"{program}: standard output can't be written ({out.error.strerror})", EXIT_FAILED)
        status = status or EXIT_FAILED
    err.flush()
    discard_rest(out, 1)
    discard_rest(err, 2)
    sys.exit(status)


def _check_directory() -> None:
    """Raises:
    ConfigError: the working directory is gone, and so all relative paths with it.
    """
    try:
        os.getcwd()
    except OSError as e:
        raise ConfigError(f"working directory: {e.strerror}; change to another one") from e


def _lost(error: OSError) -> str | None:
    """What the command needed and lost: its disk, its outputs folder or /dev/null. None if it is something else."""
    outputs = outputs_dir()
    if isinstance(error, FileNotFoundError) and str(outputs) in str(error) and not outputs.exists():
        return f"{outputs} was moved or removed. Move it back, then rerun the same command to resume."
    if error.errno in DISK_ERRORS | PERMISSION_ERRORS or error.filename == os.devnull:
        return f"{error.filename or outputs}: {error.strerror}; what is committed stays, and the same line goes on"
    return None


def print_error(program: str, line: str) -> int:
    """Prints what was wrong; the exit status for it."""
    words = (
        word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD // 2]}..." for word in hide_password(line).split()
    )
    return _say(f"{program}: {' '.join(words)}", EXIT_WRONG)


def _say(line: str, status: int) -> int:
    print(printable(line), file=sys.stderr)
    return status
