"""MLflow's server as a process of `lenet-ui`: `python -m lenet_exp.ui.process <arguments of mlflow server>`.

Not for people. Its process group ends when its stdin does: when lenet-ui lets go, or was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

GRACE_SECONDS = 5.0  # after SIGTERM the server has so long to come to its end


def main() -> None:
    """Runs `mlflow server` in this process until stdin ends, or until SIGINT or SIGTERM."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    from mlflow.cli import cli

    cli(["server", *sys.argv[1:]], prog_name="mlflow")


def _end_with_stdin() -> NoReturn:
    os.read(0, 1)  # nothing is ever written: this returns at the end
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


if __name__ == "__main__":
    main()
