"""Uploads results in a separate thread, so that training and monitoring never wait for an MLflow store.

The thread rests between uploads, so that it takes at most 5% of the machine's time from training. Results that have not
been uploaded when training ends are uploaded after the results have been printed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lenet_exp.config.schema import Tracking
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.machine import cpu_count
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery

SHARE = 0.05  # maximum fraction of the machine's time for uploads during training
EXPORT_SECONDS = 30.0  # time before the first export of a model, which imports modules for over a second

log = logging.getLogger("lenet_exp")


class BackgroundDelivery:
    """A `Delivery` that uploads run folders in a background thread.

    Several pending requests for the same folder cause only one upload. Callers wait only for the upload at the end of
    a single run. After a sweep, call `close` and then upload the remaining results.

    Attributes:
        models: whether to also upload the best models, after 30 seconds. False if this process trains networks, because
            exporting a model changes state that all networks in a process share.
        rests: whether to rest between uploads. False if the runs train on other machines.
    """

    def __init__(self, delivery: StoreDelivery) -> None:
        self.models = False
        self.rests = True
        self._delivery = delivery
        self._waiting: dict[object, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._started = time.monotonic()
        # A daemon thread cannot delay the exit of the process, even if the store hangs.
        self._thread = threading.Thread(target=self._run, name="deliver", daemon=True)

    def live(self, folder: RunFolder) -> None:
        """Request an upload of the last checkpoint. The request is ignored if the previous upload is too recent."""
        self.ask(folder.path, partial(self._delivery.live, folder))

    def send(self, folder: RunFolder, *, model: bool | None = None, archive: bytes | None = None) -> str | None:
        """Upload a run that has ended and return its MLflow run ID, or None on failure.

        In a sweep, only request the upload and return None.

        Args:
            model, archive: see `StoreDelivery.send`.
        """
        if self._delivery.in_sweep:
            self.ask((folder.path, "ended"), lambda: self._delivery.send(folder, model=self._model()))
            return None
        self.close()
        return self._delivery.send(folder, model=model, archive=archive)

    def ask(self, what: object, action: Callable[[], object]) -> None:
        """Request a call of `action` in the upload thread. A new request replaces a pending request with the same
        `what`."""
        with self._changed:
            if self._closed:
                return
            self._waiting[what] = action
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Start no more uploads. An upload in progress still finishes before `StoreDelivery` starts another upload."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _model(self) -> bool | None:
        return None if self.models and time.monotonic() - self._started > EXPORT_SECONDS else False

    def _run(self) -> None:
        share = max(0.0, 1 / (SHARE * cpu_count()) - 1)  # ratio of a pause to the upload before it
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                action = self._waiting.pop(next(iter(self._waiting)))
            start = time.monotonic()
            try:
                action()
            except Exception:  # results that could not be uploaded now are uploaded at the end
                log.debug("uploading", exc_info=True)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self.rests * share * (time.monotonic() - start))


def open_background_delivery(tracking: Tracking, outputs: Path) -> BackgroundDelivery:
    """Open the store for the upload of a single run.

    Raises:
        StoreError: the store responds but cannot be used.
    """
    return BackgroundDelivery(StoreDelivery(tracking, outputs))
