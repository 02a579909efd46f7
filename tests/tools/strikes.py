"""SIGKILL at a chosen point of a command: right before it creates or deletes a file, or updates the
store.

`main` is lenet-train with a checkpoint after each epoch. The points of its own process are those of
files. The uploading process (struck_uploader.py) has points of its own, which are its calls to the
store and its changes of delivered.json; their number depends on how often it finds a new
checkpoint. The points exclude the middle of store calls, a sweep's live progress, log lines, and
the empty files that mark active jobs.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenet_exp import processes
from lenet_exp.commands import train
from lenet_exp.folders import checkpoints

TRACE = "LENET_EXP_TEST_TRACE"  # a file for the points, one per line
STRIKE = "LENET_EXP_TEST_STRIKE"  # the number of the point to die at, from 0
UPLOADER_TRACE = "LENET_EXP_TEST_UPLOADER_TRACE"  # the same for the uploading process
UPLOADER_STRIKE = "LENET_EXP_TEST_UPLOADER_STRIKE"
FILES = ("replace", "unlink")  # of os
_STUDY = """
    create_new_study create_new_trial set_study_user_attr set_trial_intermediate_value
    set_trial_user_attr set_trial_system_attr set_trial_state_values
"""
STUDY = _STUDY.split()  # of Optuna's RDBStorage, in a search


def main() -> None:
    """Run lenet-train, which dies at the chosen point."""
    checkpoints.CHECKPOINT_SECONDS = 0.0
    start_module = processes.start_module

    def start_struck(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        if module == "lenet_exp.tracking.uploader.process":
            module = "tests.tools.struck_uploader"
        return start_module(module, *arguments, **options)

    processes.start_module = start_struck
    reached = points(TRACE, STRIKE)
    watch_files(reached)
    if "hydra/sweeper=search" in sys.argv:
        from optuna.storages import RDBStorage

        for name in STUDY:
            point_of_call = functools.partial(_call, f"RDBStorage.{name}")
            call = watched(getattr(RDBStorage, name), point_of_call, reached)
            setattr(RDBStorage, name, call)
    train.main()


def watch_files(reached: Callable[[str], None]) -> None:
    """Call a function right before each change of a file in the outputs folder."""
    for name in FILES:
        point_of_change = functools.partial(_file, name)
        setattr(os, name, watched(getattr(os, name), point_of_change, reached))


def watched(
    function: Callable[..., Any], what: Callable[..., str | None], reached: Callable[[str], None]
) -> Any:
    @functools.wraps(function)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        point = what(*arguments)
        if point is not None:
            reached(point)
        return function(*arguments, **keywords)

    return watched


def _call(name: str, *_: Any) -> str:
    return name


def _file(name: str, *arguments: Any) -> str | None:
    """Return a name such as `replace history.json`, or None for temporary files and files
    elsewhere.
    """
    changed = arguments[-1] if name == "replace" else arguments[0]
    path = Path(os.fspath(changed))
    is_in_outputs = path.is_relative_to(os.environ["LENET_EXP_OUTPUTS"])
    if not is_in_outputs or path.name.startswith(".") or path.name.startswith("mlflow.db"):
        return None
    return f"{name} {re.sub(r'[0-9]+', 'N', path.name)}"


def points(traced: str, struck: str) -> Callable[[str], None]:
    """Return a function that records a point, and kills this process at the chosen one.

    Args:
        traced, struck: names of the environment variables with the file for the points, and with
            the point's number.
    """
    number = -1
    last_number = int(os.environ.get(struck, "-2"))
    trace = os.environ.get(traced, os.devnull)

    def reached(point: str) -> None:
        nonlocal number
        number += 1
        if number == last_number:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(trace, "a") as file:
            file.write(f"{point}\n")

    return reached
