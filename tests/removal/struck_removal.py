"""`lenet-sweep rm` that dies of SIGKILL right before a chosen rename, deletion or update of the
store.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import mlflow

from lenet_exp.commands import sweep
from tests.tools.strikes import STRIKE, TRACE, points, watched

FILES = ((os, "rename"), (os, "replace"), (os, "rmdir"), (os, "unlink"), (shutil, "rmtree"))
CALLS = ("log_batch", "delete_tag", "delete_logged_model", "delete_run")  # of MlflowClient


def main() -> None:
    """Run lenet-sweep, which dies at the chosen point."""
    reached = points(TRACE, STRIKE)
    for module, name in FILES:
        setattr(
            module,
            name,
            watched(getattr(module, name), lambda *a, name=name: _file(name, *a), reached),
        )
    for name in CALLS:
        call = getattr(mlflow.MlflowClient, name)
        setattr(
            mlflow.MlflowClient,
            name,
            watched(call, lambda *_, name=name: f"MlflowClient.{name}", reached),
        )
    sweep.main()


def _file(name: str, *arguments: Any) -> str | None:
    """Return a name such as `rename runs/...`, or None for the database and for files elsewhere."""
    path = Path(os.fspath(arguments[0]))
    within = path.is_relative_to(os.environ["LENET_EXP_OUTPUTS"]) or not path.is_absolute()
    if not within or path.name.startswith((".", "mlflow.db")):
        return None
    return f"{name} {path.parent.name}/{path.name}"
