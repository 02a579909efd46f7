"""Uploads in a separate thread, so that training and monitoring never wait for a store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lenet_exp.config.schema import Tracking
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.delivery.system_metrics import log_system_metrics

log = logging.getLogger("lenet_exp")


class BackgroundDelivery:
    """A `Delivery` in the background. Its thread uploads each requested run folder once, even if it was requested
    several times.

    Callers wait only for the end of a single run. At the end of a sweep, results that the thread did not upload are
    uploaded after it is closed.

    Attributes:
        models: whether to upload best models, too. False if this process trains, because exporting a model affects
            state that all networks in a process share.
    """

    def __init__(self, delivery: StoreDelivery) -> None:
        self.models = False
        self._delivery = delivery
        self._waiting: dict[object, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._samples = False  # whether system metrics are being logged
        # The thread is a daemon, so that a store that hangs cannot delay the process's exit.
        self._thread = threading.Thread(target=self._run, name="deliver", daemon=True)

    def adopt(self, job: Job) -> None:
        """Take over a run that others finished, before it is trained here."""
        self._delivery.adopt(job)

    def live(self, folder: RunFolder) -> None:
        """Request an upload of the last checkpoint, if enough time has passed since the previous upload."""
        self.ask(folder.path, partial(self._live, folder))

    def send(self, folder: RunFolder) -> str | None:
        """Upload a run that has ended and return its MLflow run id, or None on failure. In a sweep, only request it."""
        if self._delivery.in_sweep:
            self.ask((folder.path, "ended"), lambda: self._delivery.send(folder, model=None if self.models else False))
            return None
        self.close()
        return self._delivery.send(folder)

    def ask(self, what: object, action: Callable[[], object]) -> None:
        """Request an action. A later request with the same key replaces an earlier one."""
        with self._changed:
            if self._closed:
                return
            self._waiting[what] = action
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Start no more actions. A running one finishes before other uploads of the same `StoreDelivery`."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                action = self._waiting.pop(next(iter(self._waiting)))
            try:
                action()
            except Exception:  # missed uploads are made at the end
                log.debug("uploading", exc_info=True)

    def _live(self, folder: RunFolder) -> None:
        run_id, store = self._delivery.live(folder), self._delivery.store
        if run_id is not None and store is not None and not self._samples:
            self._samples = True
            log_system_metrics(store, self._delivery.parent or run_id)


def open_background_delivery(tracking: Tracking, outputs: Path) -> BackgroundDelivery:
    """Open the store for a single run.

    Raises:
        StoreError: see `StoreDelivery`.
    """
    return BackgroundDelivery(StoreDelivery(tracking, outputs))
