"""Delivers during and after training without ever disturbing it: a store that is away costs one warning."""

from __future__ import annotations

import logging
import time

from lenet_exp.config.schema import Models, Tracking
from lenet_exp.errors import first_line
from lenet_exp.sweeps.run_folder import RunFolder
from lenet_exp.tracking.deliver import deliver
from lenet_exp.tracking.store import Store, StoreAway, hide_password, open_store, store_uri

LIVE_SECONDS = 5.0  # curves in the UI are at most this and one epoch old

log = logging.getLogger("lenet_exp")

_told: set[str] = set()  # stores that this process's sweep was warned of


class Delivery:
    """One store, for the runs of one process.

    Args:
        tracking: which store.
        parent: MLflow run id of the sweep, if its runs belong to one.
        in_sweep: the runs belong to a sweep, which is warned once for all of them.

    Raises:
        StoreError: the store answers but can't be used.
    """

    def __init__(self, tracking: Tracking, *, parent: str | None = None, in_sweep: bool = False) -> None:
        self.parent = parent
        self._models = tracking.models
        self._in_sweep = in_sweep
        self._last = 0.0
        self._warned = False
        self.store: Store | None = None
        try:
            self.store = open_store(tracking)
        except StoreAway as e:
            self._warn(store_uri(tracking), e)

    def live(self, folder: RunFolder) -> None:
        """Sends what is committed, if the last sending is long enough ago."""
        if time.monotonic() - self._last >= LIVE_SECONDS and not self._warned:
            self.send(folder, model=False)

    def send(self, folder: RunFolder, *, model: bool | None = None) -> str | None:
        """Sends what is committed; the MLflow run's id, or None where that failed.

        Args:
            model: whether the best model is sent too; by default as `tracking.models` says (`best` is for the sweep's
                end to decide).
        """
        if self.store is None:
            return None
        if model is None:
            model = self._models is Models.all or (self._models is Models.best and not self._in_sweep)
        try:
            return deliver(folder, self.store, parent=self.parent, model=model)
        except Exception as e:  # training must not die of its bookkeeping
            self._warn(self.store.uri, e)
            log.debug("delivery failed", exc_info=True)
            return None
        finally:
            self._last = time.monotonic()

    def _warn(self, uri: str, error: Exception) -> None:
        if not self._warned and not (self._in_sweep and uri in _told):
            reason = first_line(error)
            log.warning(
                "tracking.uri=%s: can't be written (%s); nothing is lost: results stay in the outputs folder, "
                "and starting the same line again delivers them",
                hide_password(uri),
                hide_password(reason),
            )
        self._warned = True
        if self._in_sweep:
            _told.add(uri)
