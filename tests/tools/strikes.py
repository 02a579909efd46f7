"""SIGKILL at a chosen point of a command: right before it creates or deletes a file, or updates the store.

`main` is lenet-train with a checkpoint and an upload after each epoch. Background uploads run at once, which fixes the
order of the points. The points exclude the middle of store calls, a sweep's live progress, log lines, and the empty
files that mark active jobs.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow

from lenet_exp.commands import train
from lenet_exp.folders import checkpoints
from lenet_exp.tracking.delivery import store_delivery as delivery
from lenet_exp.tracking.delivery.background import BackgroundDelivery

TRACE = "LENET_EXP_TEST_TRACE"  # a file for the points, one per line
STRIKE = "LENET_EXP_TEST_STRIKE"  # the number of the point to die at, from 0
FILES = ("replace", "unlink")  # of os
_STUDY = """
    create_new_study create_new_trial set_study_user_attr set_trial_intermediate_value set_trial_user_attr
    set_trial_system_attr set_trial_state_values
"""
_CALLS = """
    create_experiment create_run log_batch log_inputs log_artifact update_run set_terminated create_logged_model
    log_model_artifacts finalize_logged_model log_outputs create_registered_model create_model_version
    set_registered_model_alias
"""
STUDY = _STUDY.split()  # of Optuna's RDBStorage, in a search
CALLS = _CALLS.split()  # of MlflowClient


def main() -> None:
    """Run lenet-train, which dies at the chosen point."""
    checkpoints.CHECKPOINT_SECONDS = delivery.LIVE_SECONDS = 0.0
    BackgroundDelivery.ask = lambda self, what, action: self._closed or action()
    reached = points()
    for name in FILES:
        setattr(os, name, watched(getattr(os, name), lambda *a, name=name: _file(name, *a), reached))
    for name in CALLS:
        call = getattr(mlflow.MlflowClient, name)
        setattr(mlflow.MlflowClient, name, watched(call, lambda *_, name=name: f"MlflowClient.{name}", reached))
    if "hydra/sweeper=search" in sys.argv:
        from optuna.storages import RDBStorage

        for name in STUDY:
            call = getattr(RDBStorage, name)
            setattr(RDBStorage, name, watched(call, lambda *_, name=name: f"RDBStorage.{name}", reached))
    train.main()


def watched(function: Callable[..., Any], what: Callable[..., str | None], reached: Callable[[str], None]) -> Any:
    @functools.wraps(function)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        point = what(*arguments)
        if point is not None:
            reached(point)
        return function(*arguments, **keywords)

    return watched


def _file(name: str, *arguments: Any) -> str | None:
    """Return a name such as `replace history.json`, or None for temporary files and files elsewhere."""
    path = Path(os.fspath(arguments[-1] if name == "replace" else arguments[0]))
    inside = path.is_relative_to(os.environ["LENET_EXP_OUTPUTS"])
    if not inside or path.name.startswith(".") or path.name.startswith("mlflow.db"):
        return None
    return f"{name} {re.sub(r'[0-9]+', 'N', path.name)}"


def points() -> Callable[[str], None]:
    number = -1
    at = int(os.environ.get(STRIKE, "-2"))
    trace = os.environ.get(TRACE, os.devnull)

    def reached(point: str) -> None:
        nonlocal number
        number += 1
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(trace, "a") as file:
            file.write(f"{point}\n")

    return reached
