"""Monitors a sweep's jobs while they train, requests uploads of runs, and shows progress on the terminal."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lenet_exp.folders.job import Job
from lenet_exp.folders.results import outcome_line
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.stopping import in_background
from lenet_exp.tracking.delivery.background import BackgroundDelivery

TICK_SECONDS = 0.5

log = logging.getLogger("lenet_exp")


@contextmanager
def watching(
    sweep: SweepFolder, jobs: Sequence[Job], background: BackgroundDelivery, display: Display, *, uploads: bool
) -> Iterator[None]:
    """Monitor a sweep's jobs for the duration of a `with` block, in a thread of the sweep's own process.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep; the list can grow.
        background: object that uploads runs in its own thread, so that stop requests and the terminal need not wait for
            a store.
        display: display that shows the progress on the terminal.
        uploads: whether jobs train in other processes. If so, this process uploads their runs and logs how they ended.
    """
    monitor = SweepMonitor(sweep, jobs, owners=False)
    handled: set[int] = set()  # numbers of the ended jobs whose end was logged

    def watch(stop: threading.Event) -> None:
        while not stop.wait(TICK_SECONDS):
            try:
                if sweep.is_asked_to_stop():
                    os.kill(os.getpid(), signal.SIGTERM)
                progress = monitor.progress()
                display.show_sweep(progress)
                handle_ended(stop)
                for run in progress.running if uploads else ():
                    background.live(run.job.folder)
            except Exception:  # missing results are uploaded when the sweep ends
                log.debug("watching the sweep", exc_info=True)
        handle_ended(stop)

    def handle_ended(stop: threading.Event) -> None:
        for number in sorted(set(sweep.ended()) - handled) if uploads else ():
            handled.add(number)
            job = jobs[number]
            log.info("%s: %s", job.name, outcome_line(job, sweep.error(number), sweep.started().started_ms))
            if job.folder.record() is not None and not stop.is_set():
                background.send(job.folder)

    with in_background(watch, "watch"):
        yield
