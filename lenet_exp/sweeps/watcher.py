"""Monitors a sweep's jobs while they train, and shows progress on the terminal."""

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

TICK_SECONDS = 0.5

log = logging.getLogger("lenet_exp")


@contextmanager
def watching(
    sweep: SweepFolder, jobs: Sequence[Job], display: Display, *, elsewhere: bool
) -> Iterator[None]:
    """Monitor a sweep's jobs for the duration of a `with` block, in a thread of the sweep's own
    process.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep; the list can grow.
        display: display that shows the progress on the terminal.
        elsewhere: whether jobs train in other processes. If so, this process logs how they ended.
    """
    monitor = SweepMonitor(sweep, jobs, owners=False)
    logged: set[int] = set()  # numbers of the ended jobs whose end was logged

    def watch(stop: threading.Event) -> None:
        while not stop.wait(TICK_SECONDS):
            try:
                if sweep.is_asked_to_stop():
                    os.kill(os.getpid(), signal.SIGTERM)
                progress = monitor.progress()
                display.show_sweep(progress)
                log_ended()
            except Exception:  # a folder was moved or removed
                log.debug("watching the sweep", exc_info=True)
        log_ended()

    def log_ended() -> None:
        if not elsewhere:
            return
        for number in sorted(set(sweep.ended()) - logged):
            logged.add(number)
            job = jobs[number]
            log.info(
                "%s: %s",
                job.name,
                outcome_line(job, sweep.error(number), sweep.started().started_ms),
            )

    with in_background(watch, "watch"):
        yield
