"""Shows that results are being uploaded, how many, and which command shows them in MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lenet_exp.reports.terminal.log_output import console
from lenet_exp.waiting import FIRST_SECONDS, LINE_SECONDS, print_status


@contextmanager
def uploading() -> Iterator[Callable[[str], None]]:
    """Flush stdout, and show that results are being uploaded, for the duration of a `with` block.

    Call the returned function to show how many results have been uploaded. If the output is not a
    terminal, the count is printed first after 5 s and then every 30 s.
    """
    # Readers of a pipe need the results before the upload, too.
    print(end="", flush=True)
    if not console.is_terminal:  # a notebook would show the status, too
        yield _CountPrinter().print_count
        return

    end = "press Ctrl-C to quit, and run lenet-sync later"
    with console.status(f"uploading to MLflow; {end}") as status:

        def show_count(count: str) -> None:
            status.update(f"uploading to MLflow: {count}; {end}")

        yield show_count


def view_line(arguments: str) -> str:
    """Return the line that names the command that opens MLflow's UI.

    Args:
        arguments: arguments of `lenet-ui`, such as `sweep=all`.
    """
    return f"view in MLflow: lenet-ui {arguments}"


class _CountPrinter:
    """Prints the number of uploaded results, first after 5 s and then every 30 s."""

    def __init__(self) -> None:
        self._due = time.monotonic() + FIRST_SECONDS

    def print_count(self, count: str) -> None:
        """Print the number of uploaded results if it is due."""
        if time.monotonic() > self._due:
            print_status(f"uploading to MLflow: {count}")
            self._due = time.monotonic() + LINE_SECONDS
