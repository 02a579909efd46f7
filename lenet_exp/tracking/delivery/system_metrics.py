"""CPU, memory, disk, network and GPUs of this machine, as MLflow's own `system/...` metrics, by MLflow's own switch:
MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true, or mlflow.enable_system_metrics_logging().

They are the machine's, not a run's: of a sweep, whose runs share the machine, the sweep's own run has them, of the
machine that its process runs on. They wait in memory for a store that is away, and are no result: what a store loses of
them later is not sent again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lenet_exp.errors import ConfigError
from lenet_exp.tracking.stores.points import log_metrics

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from lenet_exp.tracking.stores.store import Store

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
SECONDS = 10.0  # between two samples, unless MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says otherwise
MOST = 1000  # samples that wait for a store: nearly three hours


class SystemMetrics:
    """Samples this machine in a thread of its own; `system_metrics` makes it.

    Args:
        monitors: MLflow's.
        seconds: between two samples.
    """

    def __init__(self, monitors: list[Any], seconds: float) -> None:
        self._monitors = monitors
        self._seconds = seconds
        self._waiting: deque[list[Metric]] = deque(maxlen=MOST)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Once; again, it changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="system metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Samples no more; what waits can still be delivered."""
        self._stop.set()

    def deliver(self, store: Store, run_id: str) -> None:
        """Sends what waits."""
        waiting = list(self._waiting)
        log_metrics(store, run_id, [point for sample in waiting for point in sample])
        for _ in waiting:
            if self._waiting and self._waiting[0] in waiting:  # it may have been pushed out meanwhile
                self._waiting.popleft()

    def _run(self) -> None:
        while True:
            self._sample()
            if self._stop.wait(self._seconds):
                return

    def _sample(self) -> None:
        from mlflow.entities import Metric

        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        now = time.time_ns() // 1_000_000
        step = int(now / 1000 / self._seconds)  # grows also over several starts
        self._waiting.append([Metric(f"system/{name}", value, now, step) for name, value in values.items()])


@contextmanager
def sampling(system: SystemMetrics | None) -> Iterator[None]:
    """Around training: samples this machine, where that is wanted."""
    if system is None:
        yield
        return
    system.start()
    try:
        yield
    finally:
        system.stop()


def system_metrics() -> SystemMetrics | None:
    """What samples this machine; None unless MLflow's switch is on.

    Raises:
        ConfigError: it is on, and psutil is not installed.
    """
    if SWITCH not in os.environ:
        return None
    from mlflow.environment_variables import (
        MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING,
        MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL,
    )

    try:
        wanted = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get()
    except ValueError as e:
        raise ConfigError(f"{SWITCH}={os.environ[SWITCH]}: allowed is true or false") from e
    if not wanted:
        return None
    try:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    except ModuleNotFoundError as e:
        raise ConfigError(f"{SWITCH}=true: needs {e.name}; pip install 'lenet_exp[system]'") from e
    seconds = float(MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or SECONDS)
    return SystemMetrics([CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpus()], seconds)


def _gpus() -> list[Any]:
    """MLflow's monitor of the GPUs; none where there are none, or their library is not installed."""
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        return [GPUMonitor()]
    except Exception:  # whatever its driver has to say
        return []
