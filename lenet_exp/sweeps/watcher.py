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
    sweep: SweepFolder, jobs: Sequence[Job], display: Display, *, started_ms: int, logs_ends: bool
) -> Iterator[None]:
    """Monitor a sweep's jobs for the duration of a `with` block, in a thread of the sweep's own
    process.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep; the list can grow.
        display: display that shows the progress on the terminal.
        started_ms: start time of this session, in milliseconds since 1970.
        logs_ends: whether to log how jobs end, because they train in other processes, whose output
            is not shown.
    """
    watcher = _Watcher(sweep, jobs, display, started_ms=started_ms, logs_ends=logs_ends)
    with in_background(watcher.run, "watch"):
        yield


class _Watcher:
    """Monitors a sweep's jobs in a thread; see `watching`.

    Args:
        sweep, jobs, display, started_ms: see `watching`.
        logs_ends: whether to log how jobs ended.
    """

    def __init__(
        self,
        sweep: SweepFolder,
        jobs: Sequence[Job],
        display: Display,
        *,
        started_ms: int,
        logs_ends: bool,
    ) -> None:
        self._sweep = sweep
        self._jobs = jobs
        self._display = display
        self._started_ms = started_ms
        self._logs_ends = logs_ends
        self._monitor = SweepMonitor(sweep, jobs, owners=False)
        self._logged: set[int] = set()  # numbers of the ended jobs whose end was logged

    def run(self, stop: threading.Event) -> None:
        """Show the progress and log ended jobs until `stop` is set."""
        while not stop.wait(TICK_SECONDS):
            try:
                self._update()
            except Exception:  # a folder was moved or removed
                log.debug("watching the sweep", exc_info=True)

        self._log_ended()  # jobs that ended after the last update

    def _update(self) -> None:
        if self._sweep.is_asked_to_stop():
            os.kill(os.getpid(), signal.SIGTERM)
        self._display.show_sweep(self._monitor.progress())
        self._log_ended()

    def _log_ended(self) -> None:
        """Log how jobs ended that have ended since the last call."""
        if not self._logs_ends:
            return
        newly_ended = set(self._sweep.ended()) - self._logged
        for number in sorted(newly_ended):
            self._logged.add(number)
            job = self._jobs[number]
            line = outcome_line(job, self._sweep.error(number), self._started_ms)
            log.info("%s: %s", job.name, line)
