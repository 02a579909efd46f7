"""Delivers in a thread of its own: who trains, or watches those who do, asks for it and goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from lenet_exp.config.schema import Tracking
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.delivery.system_metrics import system_metrics

log = logging.getLogger("lenet_exp")


class Beside:
    """A `Delivery` that is not waited for. What a run's folder holds when its turn comes is delivered, once, however
    often that was asked for meanwhile; a store that hangs takes the turns of the others, and nothing else.

    Only the end of a run that is in no sweep is waited for: as long as its store takes what it is given. The end of a
    sweep, when the thread is closed, delivers what this one had no time for.

    Attributes:
        models: whether the best models are sent too. Not where this process trains: an export is traced through what
            all networks of a process have in common.
    """

    def __init__(self, delivery: StoreDelivery) -> None:
        self.models = False
        self._delivery = delivery
        self._changed = threading.Condition()
        self._running: dict[Path, RunFolder] = {}
        self._ended: dict[Path, RunFolder] = {}
        self._report: Callable[[], None] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def adopt(self, job: Job) -> None:
        """Takes over a run that others finished: what has to be known before it is trained."""
        self._delivery.adopt(job)

    def live(self, folder: RunFolder) -> None:
        """Asks for what is committed to be sent, if the last sending is long enough ago. A run in no sweep has begun:
        the machine is sampled, where that is wanted."""
        if self._delivery.system is not None and not self._delivery.in_sweep:
            self._delivery.system.start()
        self._ask(self._running, folder)

    def send(self, folder: RunFolder) -> str | None:
        """Of a run in no sweep, which has ended: sends what is committed; the MLflow run's id, or None where that
        failed. Of a sweep's run: asks for it."""
        if self._delivery.in_sweep:
            self._ask(self._ended, folder)
            return None
        self.close()
        if self._delivery.system is not None:
            self._delivery.system.stop()
        self._delivery.make_sure()
        return self._delivery.send(folder)

    def close(self) -> None:
        """Begins no more deliveries; one that is under way takes its turn of `StoreDelivery`."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def report(self, tell: Callable[[], None]) -> None:
        """Asks for something that is told of all runs, before any of them; what was asked for last counts."""
        with self._changed:
            self._report = tell
            self._wake()

    def _ask(self, waiting: dict[Path, RunFolder], folder: RunFolder) -> None:
        with self._changed:
            waiting[folder.path] = folder
            self._wake()

    def _wake(self) -> None:
        if self._closed:
            return
        if self._thread is None:
            # A daemon: the process must not wait at its exit for a store that hangs.
            self._thread = threading.Thread(target=self._run, name="deliver", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._report or self._running or self._ended)
                if self._closed:
                    return
                tell, self._report = self._report, None
                if tell is None:
                    has_ended = not self._running
                    waiting = self._ended if has_ended else self._running
                    folder = waiting.pop(next(iter(waiting)))
            if tell is None:
                self._deliver(folder, has_ended)
            else:
                self._tell(tell)

    @staticmethod
    def _tell(tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # the end tells it
            log.debug("telling of the sweep", exc_info=True)

    def _deliver(self, folder: RunFolder, has_ended: bool) -> None:
        try:
            if has_ended:
                self._delivery.send(folder, model=None if self.models else False)
            else:
                self._delivery.live(folder)
        except Exception:  # what it missed is delivered at the end
            log.debug("delivering %s", folder.path, exc_info=True)


def delivered_beside(tracking: Tracking, outputs: Path) -> Beside:
    """Opens the store for a run in no sweep, with what samples the machine where MLflow's switch says so.

    Raises:
        ConfigError: the switch is on, and what it needs is not installed.
        StoreError: as of `StoreDelivery`.
    """
    return Beside(StoreDelivery(tracking, outputs, system=system_metrics()))
