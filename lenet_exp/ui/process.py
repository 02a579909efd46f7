"""MLflow's server as a process of `lenet-ui`: `python -m lenet_exp.ui.process <descriptor> <arguments>`.

Not for people. Its process group ends when the other end of the pipe closes: when lenet-ui lets go, or was killed.
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
    """Runs `mlflow server <arguments>` in this process until the pipe closes, or until SIGINT or SIGTERM."""
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    from mlflow.cli import cli

    cli(["server", *sys.argv[2:]], prog_name="mlflow")


def _end_with(pipe: int) -> NoReturn:
    os.read(pipe, 1)  # nothing is ever written: this returns when the pipe closes
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


if __name__ == "__main__":
    main()
