"""Monitors a sweep's jobs while they train, requests uploads, and reports progress to MLflow and the terminal."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence

from lenet_exp.folders.job import Job
from lenet_exp.folders.results import outcome_line
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.tracking.delivery.background import BackgroundDelivery
from lenet_exp.tracking.sweeps.live_report import LiveReport

TICK_SECONDS = 0.5

log = logging.getLogger("lenet_exp")


class SweepWatcher:
    """A thread in the sweep's own process that monitors the sweep's jobs.

    Use an instance as a context manager while jobs are running.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep.
        background: object that uploads runs in its own thread, so that stop requests and the terminal need not wait for
            a store.
        report: object that reports the sweep's progress to MLflow.
        display: display that shows the progress on the terminal.
        delivers: whether jobs train in other processes. If so, this process uploads their runs and logs how they ended.
    """

    def __init__(
        self,
        sweep: SweepFolder,
        jobs: Sequence[Job],
        background: BackgroundDelivery,
        report: LiveReport,
        display: Display,
        *,
        delivers: bool = True,
    ) -> None:
        self._sweep = sweep
        self._jobs = jobs
        self._background = background
        self._report = report
        self._display = display
        self._delivers = delivers
        self._monitor = SweepMonitor(sweep, jobs, owners=False)
        self._told: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> SweepWatcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self._look()
            except Exception:  # missing results are uploaded when the sweep ends
                log.debug("watching the sweep", exc_info=True)
        self._handle_ended()

    def _look(self) -> None:
        if self._sweep.is_asked_to_stop():
            os.kill(os.getpid(), signal.SIGTERM)
        progress = self._monitor.progress()
        self._display.show_sweep(progress)
        self._handle_ended()
        for run in progress.running if self._delivers else ():
            self._background.live(run.job.folder)
        if (tell := self._report.next(progress)) is not None:
            self._background.ask("the sweep's progress", tell)

    def _handle_ended(self) -> None:
        for number in self._sweep.ended() if self._delivers else ():
            if number in self._told:
                continue
            self._told.add(number)
            job = self._jobs[number]
            line = outcome_line(job, self._sweep.error(number), self._sweep.started().started_ms)
            log.info("%s: %s", job.name, line)
            if job.folder.record() is not None and not self._stop.is_set():
                self._background.send(job.folder)
