"""Ends a command: prints user errors on one line and returns a correct exit status."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lenet_exp.addresses import hide_password
from lenet_exp.commands.streams import discard_rest, guard_streams
from lenet_exp.errors import ConfigError, RunsFailed, UserError, first_line, printable
from lenet_exp.files import DISK_ERRORS
from lenet_exp.machine import versions
from lenet_exp.outputs import fixed_outputs_dir, outputs_dir
from lenet_exp.stopping import (
    SIGNALS,
    Terminated,
    end_threads_at_exit,
    limit_gc,
    raise_at_signals,
    raise_discarded,
)

EXIT_FAILED = 1
EXIT_INVALID = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT  # 130
EXIT_TERMINATED = 128 + signal.SIGTERM  # 143
PERMISSION_ERRORS = {errno.EACCES, errno.EPERM}


def run_and_exit(program: str, work: Callable[[], int], *, full_error: bool = False) -> NoReturn:
    """Call `work`, and exit with the status that it returns.

    The exit status is:

    - 0 on success;
    - 1 if a run failed or diverged, or if writing to standard output failed;
    - 2 if the request is invalid, which is reported in one line on stderr;
    - 130 after SIGINT or 143 after SIGTERM.

    `lenet-reproduce` returns 0 if the results are identical, 1 if they differ, and 3 if they are
    not comparable.

    Args:
        program: name of the command, for error messages.
        work: function that runs the command.
        full_error: whether to print a traceback instead of a one-line error.
    """
    limit_gc()
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.simplefilter("default")  # a library's deprecation warning must not end the command
    # Registered before libraries register functions, so that Python calls it after them.
    atexit.register(_end_at_signals)
    raise_at_signals()

    out, err = guard_streams()
    try:
        status = _status_of(program, work, full_error)
        raise_discarded()
        _exit_at_signals()
    except KeyboardInterrupt:
        _exit_at_signals()
        status = EXIT_INTERRUPTED
        _print_line(f"{program}: stopped")
    except Terminated:
        _exit_at_signals()
        status = EXIT_TERMINATED
        _print_line(f"{program}: terminated")

    out.flush()
    # A command such as `| head` closes the pipe, which is no error.
    if out.error is not None and not isinstance(out.error, BrokenPipeError):
        reason = getattr(out.error, "strerror", None) or first_line(out.error)
        _print_line(f"{program}: cannot write to standard output ({reason})")
        status = status or EXIT_FAILED
    err.flush()
    discard_rest(out, 1)
    discard_rest(err, 2)

    end_threads_at_exit(program, status)
    # CPython remembers if exec() raised a KeyboardInterrupt, for example in a dataclass, and
    # `python -m` would then end with SIGINT. An exec() that succeeds resets this.
    exec("")
    sys.exit(status)


def _status_of(program: str, work: Callable[[], int], full_error: bool) -> int:
    """Call `work`, print its error if it raises one, and return the exit status.

    Raises:
        KeyboardInterrupt, Terminated: a signal arrived.
    """
    try:
        if "--version" in sys.argv[1:]:
            print(f"{program} {versions()['lenet_exp']}")
            return 0
        _check_directory()
        with fixed_outputs_dir():
            return work()
    except UserError as e:
        if full_error:
            raise
        return print_error(program, str(e))
    except RunsFailed:
        return EXIT_FAILED
    except SystemExit as e:  # from Hydra, after --help
        if isinstance(e.code, int):
            return e.code
        return EXIT_FAILED if e.code is not None else 0
    except OSError as e:
        problem = _storage_problem(e, program)
        if problem is None or full_error:
            raise
        _print_line(f"{program}: {problem}")
        return EXIT_FAILED


def _exit_at_signals() -> None:
    """Exit at once with status 130 or 143 when a signal arrives, because nothing is left to
    interrupt.
    """
    for signum in SIGNALS:
        signal.signal(signum, _exit_at_signal)


def _exit_at_signal(signum: int, _: object) -> None:
    os._exit(128 + signum)


def _end_at_signals() -> None:
    """Let a signal end the process, because Python no longer calls handlers. A shell shows status
    130 or 143, too.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def _check_directory() -> None:
    """Check that the working directory exists, because relative paths depend on it.

    Raises:
        ConfigError: the working directory no longer exists.
    """
    try:
        os.getcwd()
    except OSError as e:
        raise ConfigError(f"working directory: {e.strerror}; change to another directory") from e


def _storage_problem(error: OSError, program: str) -> str | None:
    """Return a message about an unusable disk, outputs folder, or /dev/null, or None for any other
    error.
    """
    outputs = outputs_dir()
    is_missing_output = isinstance(error, FileNotFoundError) and str(outputs) in str(error)
    if is_missing_output and not outputs.exists():
        return (
            f"{outputs} was moved or removed. Move it back, then rerun the same command to resume."
        )

    removed_folder = _removed_folder(error)
    if removed_folder is not None:
        return (
            f"{removed_folder} was moved or removed. "
            "Results in other folders are kept; rerun the same command to resume."
        )

    is_disk_error = error.errno in DISK_ERRORS | PERMISSION_ERRORS
    if not is_disk_error and error.filename != os.devnull:
        return None
    remedy = "Fix this, and rerun"
    if program in {"lenet-train", "lenet-reproduce"}:
        remedy = "Checkpoints are kept; rerun"
    place = error.filename or outputs
    return f"{place}: {error.strerror}. {remedy} the same command to resume."


def _removed_folder(error: OSError) -> Path | None:
    """Return the folder of a run or a sweep whose removal caused an error, or None if the error has
    another cause.
    """
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str):
        return None
    path = Path(os.path.abspath(error.filename))
    for kind in ("runs", "sweeps"):
        parent = outputs_dir() / kind
        if path.is_relative_to(parent) and path != parent:
            folder = parent / path.relative_to(parent).parts[0]
            return None if folder.exists() else folder
    return None


def print_error(program: str, message: str) -> int:
    """Print an error message to stderr and return the exit status for errors."""
    one_line = " ".join(hide_password(message).split())
    _print_line(f"{program}: {one_line}")
    return EXIT_INVALID


def _print_line(line: str) -> None:
    print(printable(line), file=sys.stderr)
