"""Python processes that a command starts for work that must not run in its own process."""

from __future__ import annotations

import os
import subprocess
import sys


def start_module(module: str, *arguments: str, quiet: bool = True) -> subprocess.Popen[bytes]:
    """Start `python -m <module>` with pipes as its stdin and stdout.

    The process has a session of its own, so signals from a terminal do not reach it. It must end
    when its stdin ends.

    Args:
        module: name of the module.
        arguments: arguments of the module.
        quiet: whether to discard its stderr.
    """
    return subprocess.Popen(
        # Without -P, Python would import an mlflow.py from the working directory instead of MLflow.
        # Without -W, PYTHONWARNINGS=error would turn MLflow's warnings into errors.
        [sys.executable, "-PWdefault", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,
    )
