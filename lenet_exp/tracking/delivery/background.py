"""Uploads in a thread of its own: training, and the thread that watches a sweep, only ask for it."""

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
    """A `Delivery` that is not waited for. Its thread sends what a run's folder holds when its turn comes, once,
    however often that was asked for meanwhile.

    Only the end of a run that is in no sweep is waited for. The end of a sweep, when the thread is closed, sends what
    the thread had no time for.

    Attributes:
        models: whether the best models are sent too. Not where this process trains: an export is traced through what
            all networks of a process have in common.
    """

    def __init__(self, delivery: StoreDelivery) -> None:
        self.models = False
        self._delivery = delivery
        self._waiting: dict[object, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._samples = False  # whether this machine's metrics are logged
        # A daemon: the process must not wait at its exit for a store that hangs.
        self._thread = threading.Thread(target=self._run, name="deliver", daemon=True)

    def adopt(self, job: Job) -> None:
        """Takes over a run that others finished: what has to be known before it is trained."""
        self._delivery.adopt(job)

    def live(self, folder: RunFolder) -> None:
        """Asks for what is committed to be sent, if the last sending is long enough ago."""
        self.ask(folder.path, partial(self._live, folder))

    def send(self, folder: RunFolder) -> str | None:
        """Upload a run that has ended and return its MLflow run id, or None on failure. In a sweep, only request it."""
        if self._delivery.in_sweep:
            self.ask((folder.path, "ended"), lambda: self._delivery.send(folder, model=None if self.models else False))
            return None
        self.close()
        return self._delivery.send(folder)

    def ask(self, what: object, action: Callable[[], object]) -> None:
        """Asks for an action, once; of the same thing asked for again the new action counts."""
        with self._changed:
            if self._closed:
                return
            self._waiting[what] = action
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Begins no more actions; one that is under way takes its turn of `StoreDelivery`."""
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
            except Exception:  # what it missed is sent at the end
                log.debug("uploading", exc_info=True)

    def _live(self, folder: RunFolder) -> None:
        run_id, store = self._delivery.live(folder), self._delivery.store
        if run_id is not None and store is not None and not self._samples:
            self._samples = True
            log_system_metrics(store, self._delivery.parent or run_id)


def open_background_delivery(tracking: Tracking, outputs: Path) -> BackgroundDelivery:
    """Opens the store for a run in no sweep.

    Raises:
        StoreError: as of `StoreDelivery`.
    """
    return BackgroundDelivery(StoreDelivery(tracking, outputs))
