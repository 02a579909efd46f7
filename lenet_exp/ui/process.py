"""Runs MLflow's server as a child process of `lenet-ui`.

Usage: `python -m lenet_exp.ui.process <arguments of mlflow server>`

This module is for internal use. The server's process group ends when the server's stdin is closed,
which happens when `lenet-ui` ends or is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

GRACE_SECONDS = 5.0  # time for the server to end after SIGTERM


def main() -> None:
    """Run `mlflow server` in this process until stdin is closed or SIGINT or SIGTERM arrives."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    from mlflow.cli import cli

    cli(["server", *sys.argv[1:]], prog_name="mlflow")


def _end_with_stdin() -> NoReturn:
    os.read(0, 1)  # nothing is ever written, so this returns when stdin is closed
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


if __name__ == "__main__":
    main()
