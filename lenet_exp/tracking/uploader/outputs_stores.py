"""The MLflow stores to which `lenet-sync` uploads the runs in an outputs folder."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.addresses import frozen_uri, store_uri
from lenet_exp.config.schema import StoreAddress, Tracking
from lenet_exp.errors import UserError
from lenet_exp.tracking.stores.connection import StoreConnection
from lenet_exp.tracking.stores.time_limit import CallLimit

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Destination:
    """The store and the experiment to which a run or a sweep is uploaded.

    Attributes:
        store: address of the store, without a password.
        experiment: name of the experiment.
    """

    store: str
    experiment: str


class OutputsStores:
    """The MLflow stores for the runs in an outputs folder. Each of them is opened only once.

    Args:
        outputs: path of the outputs folder.
        uri: address of a store that replaces all others; by default, the value of
            MLFLOW_TRACKING_URI.

    Attributes:
        are_replaced: whether one store receives all results, whatever the runs' flags say.
    """

    def __init__(self, outputs: Path, uri: str | None = None) -> None:
        self._outputs = outputs
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
        self.are_replaced = self._uri is not None
        self._limit = CallLimit()
        self._connections: dict[Destination, StoreConnection | None] = {}

    def destination(self, tracking: Tracking, sweep_uri: str | None) -> Destination:
        """Return the store and the experiment of a run.

        Args:
            tracking: values of the run's `tracking.*` flags.
            sweep_uri: stored address of the sweep's store; None for a single run or the default
                store.
        """
        uri = store_uri(self._uri or sweep_uri or tracking.uri, self._outputs)
        return Destination(frozen_uri(uri) or "", tracking.experiment)

    def connection(self, tracking: Tracking, sweep_uri: str | None) -> StoreConnection | None:
        """Return the connection to a run's store, or None if the store cannot be used.

        A warning is logged once.

        Args:
            tracking, sweep_uri: see `destination`.
        """
        destination = self.destination(tracking, sweep_uri)
        if destination in self._connections:
            return self._connections[destination]

        uri = self._uri or sweep_uri or tracking.uri
        address = StoreAddress(uri=uri, experiment=tracking.experiment)
        connection = StoreConnection(address, self._outputs, self._limit)
        self._connections[destination] = connection
        try:
            connection.open()
        except UserError as e:
            log.warning("%s", e)
            self._connections[destination] = None
        return self._connections[destination]
