"""Watches the jobs that train in other processes: asks for their delivery, and tells the terminal."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence

from lenet_exp.folders.job import Job
from lenet_exp.folders.results import ended
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.progress import display
from lenet_exp.tracking.delivery import Delivery

TICK_SECONDS = 0.5

log = logging.getLogger("lenet_exp")


class Watch:
    """A thread of the sweep's own process; use it as a context around the launching.

    Args:
        jobs: all of the sweep's.
        delivery: one that is not waited for: a request to stop, and the terminal, must not wait for a store.
    """

    def __init__(self, sweep: SweepFolder, jobs: Sequence[Job], delivery: Delivery) -> None:
        self._sweep = sweep
        self._jobs = jobs
        self._delivery = delivery
        self._told: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self._look()
            except Exception:  # what it missed is delivered at the sweep's end
                log.debug("watching the sweep", exc_info=True)
        self._look_at_ended()

    def _look(self) -> None:
        if self._sweep.is_asked_to_stop():
            os.kill(os.getpid(), signal.SIGTERM)
        running = [self._jobs[n] for n in self._sweep.active()]
        display.running([(job.name, len(job.folder.history().epochs), job.config.num_epoch) for job in running])
        self._look_at_ended()
        for job in running:
            self._delivery.live(job.folder)

    def _look_at_ended(self) -> None:
        for number in self._sweep.ended():
            if number in self._told:
                continue
            self._told.add(number)
            job = self._jobs[number]
            outcome, line = ended(job, self._sweep.error(number), self._sweep.started().started_ms)
            display.job_done(job.name, outcome, line, job.config.num_epoch)
            if job.folder.record() is not None and not self._stop.is_set():
                self._delivery.send(job.folder)
