"""CPU, memory, disk, network and GPUs of this machine, as MLflow's own `system/...` metrics.

They are the machine's, not a run's: of a sweep, whose runs share the machine, the sweep's own run has them.
"""

from __future__ import annotations

import logging

from lenet_exp.tracking.stores.database import driver_uri
from lenet_exp.tracking.stores.store import Store

log = logging.getLogger("lenet_exp")


def log_system_metrics(store: Store, run_id: str) -> None:
    """Starts MLflow's monitor, if MLflow's own switch is on; its thread logs to the run until that ends."""
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING as SWITCH

    try:
        if SWITCH.get():
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=driver_uri(store.uri)).start()
    except ModuleNotFoundError as e:
        log.warning("%s=true: needs %s; pip install 'lenet_exp[system]'", SWITCH.name, e.name)
    except ValueError as e:
        log.warning("%s", e)
