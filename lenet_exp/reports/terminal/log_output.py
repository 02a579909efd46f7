"""Prints log lines to the terminal, to notebooks, and to log files."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from lenet_exp.addresses import hide_password
from lenet_exp.errors import printable

log = logging.getLogger("lenet_exp")
console = Console(stderr=True, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """A log handler that prints log lines above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(self.format(record), markup=False, highlight=False)


class _Formatter(logging.Formatter):
    """A log formatter that removes passwords and terminal control characters from messages and
    tracebacks.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Format the message without terminal control characters."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Format the log record without passwords and terminal control characters."""
        text = hide_password(super().format(record))
        return "\n".join(map(printable, text.split("\n")))


def log_to_console() -> None:
    """Print log lines from lenet_exp (INFO and above) to the terminal. Repeated calls change
    nothing.
    """
    log.setLevel(logging.DEBUG)
    log.propagate = False
    logging.raiseExceptions = False  # A full disk must not print tracebacks.
    if not any(isinstance(handler, _ConsoleHandler) for handler in log.handlers):
        handler = _ConsoleHandler(logging.INFO)
        handler.setFormatter(_Formatter("%(message)s"))
        log.addHandler(handler)


@contextmanager
def log_to_notebook() -> Iterator[None]:
    """Print log lines from lenet_exp (INFO and above) below the cell of a notebook. Outside a
    notebook, do nothing.
    """
    if not console.is_jupyter:
        yield
        return

    # tqdm, which Optuna and mlflow import, prints this warning.
    warnings.filterwarnings("ignore", "IProgress not found")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(logging.INFO)
    with _logging_to(handler, "%(message)s"):
        yield


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append all log lines to the log file of a run or a sweep, during a `with` block."""
    handler = logging.FileHandler(path)
    with _logging_to(handler, "%(asctime)s %(levelname)s %(message)s"):
        yield


@contextmanager
def _logging_to(handler: logging.Handler, log_format: str) -> Iterator[None]:
    handler.setFormatter(_Formatter(log_format))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # raised if the disk is full
            handler.close()
