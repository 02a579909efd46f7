"""The uploading process of a command, which dies at a chosen point (see strikes.py)."""

from __future__ import annotations

import mlflow

from lenet_exp.tracking.uploader import follow, process
from tests.tools.strikes import UPLOADER_STRIKE, UPLOADER_TRACE, points, watch_files, watched

_CALLS = """
    create_experiment create_run log_batch log_inputs log_artifacts update_run set_terminated
    create_logged_model log_model_artifacts finalize_logged_model log_outputs
    create_registered_model create_model_version set_registered_model_alias
"""
CALLS = _CALLS.split()  # of MlflowClient


def main() -> None:
    """Run the uploading process."""
    follow.LIVE_SECONDS = process.LOOK_SECONDS = 0.0
    reached = points(UPLOADER_TRACE, UPLOADER_STRIKE)
    watch_files(reached)
    for name in CALLS:
        call = getattr(mlflow.MlflowClient, name)
        point = f"MlflowClient.{name}"
        setattr(mlflow.MlflowClient, name, watched(call, lambda *_, point=point: point, reached))
    process.main()
