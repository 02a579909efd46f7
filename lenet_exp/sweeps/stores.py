"""The MLflow stores for the runs in an outputs folder.

Each store is opened only once, so an unreachable store causes a single delay.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from lenet_exp.addresses import frozen_uri, store_uri
from lenet_exp.config.schema import Tracking
from lenet_exp.errors import UserError
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery

log = logging.getLogger("lenet_exp")


class Stores:
    """The MLflow stores for the runs in an outputs folder.

    Args:
        outputs: path of the outputs folder.
        uri: address of a store that replaces all others; by default, the value of MLFLOW_TRACKING_URI.

    Attributes:
        given: whether a single specified store receives all results.
    """

    def __init__(self, outputs: Path, uri: str | None = None) -> None:
        self._outputs = outputs
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
        self.given = self._uri is not None
        self._open: dict[tuple[str, str], StoreDelivery | None] = {}

    def place(self, tracking: Tracking, kept: str | None) -> tuple[str, str]:
        """Return the address of a run's store, without a password, and the name of the run's experiment.

        Args:
            tracking: values of the run's `tracking.*` flags.
            kept: stored address of the sweep's store; None for a single run or the default store.
        """
        return self.name(kept or tracking.uri), tracking.experiment

    def name(self, kept: str | None) -> str:
        """Return the name of the store at a stored address. The name contains no password."""
        return frozen_uri(store_uri(self._uri or kept, self._outputs)) or ""

    def delivery(self, tracking: Tracking, kept: str | None) -> StoreDelivery | None:
        """Open a store if needed, and return an object that uploads results to it, or None if the store cannot be used.

        A warning is logged once if the store cannot be used.

        Args:
            tracking, kept: see `place`.
        """
        key = self.place(tracking, kept)
        if key not in self._open:
            uri = self._uri or kept or tracking.uri
            try:
                opened = StoreDelivery(replace(tracking, uri=uri), self._outputs, in_sweep=True, patient=True)
            except UserError as e:
                log.warning("%s", e)
                opened = None
            self._open[key] = opened
        delivery = self._open[key]
        if delivery is not None:
            delivery.clear_parent()
        return delivery
