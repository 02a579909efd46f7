"""Logs the MLflow metrics `system/...`: the CPU, memory, disk, network, and GPU usage of this machine.

These metrics describe the machine rather than a run, so a sweep logs them to the MLflow run that represents the sweep.
"""

from __future__ import annotations

import logging

from lenet_exp.tracking.stores.database import driver_uri
from lenet_exp.tracking.stores.store import Store

log = logging.getLogger("lenet_exp")


def log_system_metrics(store: Store, run_id: str) -> None:
    """Start MLflow's system metrics monitor for a run, if the monitor is enabled in MLflow's settings.

    The monitor's thread logs metrics until the run ends.
    """
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING as SWITCH

    try:
        if SWITCH.get():
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=driver_uri(store.uri)).start()
    except ModuleNotFoundError as e:
        log.warning("%s=true: requires %s; run: pip install 'lenet_exp[system]'", SWITCH.name, e.name)
    except ValueError as e:
        log.warning("%s", e)
