"""Follows run and sweep folders while other processes train, and uploads what has changed."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from pathlib import Path
from typing import Protocol

from lenet_exp.config.schema import LoggedModels
from lenet_exp.errors import DamagedError
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.tracking.models.exporter import ModelExporter
from lenet_exp.tracking.run_uploads.remaining import UploadCount, remaining_uploads
from lenet_exp.tracking.run_uploads.upload import RunUpload, passed_over_run
from lenet_exp.tracking.stores.connection import StoreConnection
from lenet_exp.tracking.sweep_runs.upload import Show, SweepUpload, send_run

LIVE_SECONDS = 4.0  # minimum time between two uploads of a run that is being trained
MOST_CHECKED = 100  # maximum number of jobs to check in one look
DESCRIBED_SECONDS = 30.0  # time between two descriptions of a sweep's progress

log = logging.getLogger("lenet_exp")


class Follower(Protocol):
    """Uploads of one run or sweep."""

    def look(self) -> bool:
        """Upload one thing that has changed, if any, and return whether something was uploaded."""

    def complete(self, show: Show) -> UploadCount:
        """Upload everything that the store lacks, after training, and return what is still
        missing.
        """


class RunFollower:
    """Uploads of a run that does not belong to a sweep.

    Args:
        folder: folder of the run.
        connection: connection to the store.
        exporter: exporter of the best model.
        user: user who trains the run; None if there is no such user.
        models: value of `tracking.models`.
    """

    def __init__(
        self,
        folder: RunFolder,
        connection: StoreConnection,
        exporter: ModelExporter,
        user: str | None,
        *,
        models: LoggedModels,
    ) -> None:
        self._folder = folder
        self._connection = connection
        self._wants_model = models is not LoggedModels.none
        self._live = RunUpload(user=user)
        self._final = RunUpload(user=user)
        if self._wants_model:
            self._final = RunUpload(user=user, export=exporter.export)
        self._stamp = ""  # state of the run at the last upload
        self._not_before = 0.0  # value of time.monotonic() before which nothing is uploaded

    def look(self) -> bool:
        """Upload the last checkpoint if it is new, unless the previous upload is too recent."""
        if time.monotonic() < self._not_before:
            return False
        stamp = run_stamp(self._folder.path)
        if stamp == self._stamp or self._folder.begun() is None:
            return False

        self._stamp = stamp
        send_run(self._connection, self._folder, self._live)
        self._not_before = time.monotonic() + LIVE_SECONDS
        return True

    def complete(self, show: Show) -> UploadCount:
        """Upload everything that the store lacks, and return what is still missing."""
        show(0, 1)
        if self._folder.begun() is not None:
            run_id = send_run(self._connection, self._folder, self._final, last=True)
            if run_id is not None:
                self._warn_passed_over()
        return remaining_uploads(self._folder, self._connection.name, model=self._wants_model)

    def _warn_passed_over(self) -> None:
        folder = self._folder
        line = self._connection.attempt(str(folder.path), partial(passed_over_run, folder))
        if line:
            log.warning("%s", line)


class SweepFollower:
    """Uploads of a sweep: its own MLflow run, and its runs, while they train and after their end.

    Args:
        sweep: folder of the sweep, which may not exist yet.
        upload: upload of the sweep to the store.
    """

    def __init__(self, sweep: SweepFolder, upload: SweepUpload) -> None:
        self._sweep = sweep
        self._upload = upload
        self._start = 0  # the start of the sweep that is followed
        self._monitor: SweepMonitor | None = None
        self._jobs: list[Job] = []
        self._ended: set[int] = set()  # numbers of the ended jobs whose runs were uploaded
        # number of the first job that may have been trained before this start and is not uploaded
        self._checked = 0
        self._stamps: dict[int, str] = {}  # state of the run of each job at its last upload
        self._not_before: dict[int, float] = {}
        self._described_at = -math.inf

    def look(self) -> bool:
        """Upload one thing that has changed: the progress of the sweep, or a run.

        The run has a new checkpoint, or it has ended.
        """
        if not self._exists():
            return False
        plan = self._sweep.kept_plan()
        # The sweep has not started yet, or a request to complete it follows.
        if plan is None or plan.outcome is not Outcome.running:
            return False

        if plan.starts != self._start:
            self._begin(plan.starts)
            return True
        now = time.monotonic()
        if self._monitor is not None and now - self._described_at > DESCRIBED_SECONDS:
            self._described_at = now
            self._upload.describe(self._monitor.progress())
            return True
        return self._upload_active() or self._upload_ended() or self._upload_earlier()

    def complete(self, show: Show) -> UploadCount:
        """Upload everything that the store lacks, and return what is still missing."""
        if not self._exists():
            return UploadCount()
        return self._upload.complete(show)

    def _exists(self) -> bool:
        return (self._sweep.path / "sweep.json").exists()

    def _begin(self, start: int) -> None:
        """Show a new start of the sweep in its MLflow run."""
        self._start = start
        self._jobs = self._sweep.jobs()
        self._monitor = SweepMonitor(self._sweep, self._jobs, owners=False)
        self._ended.clear()
        self._stamps.clear()
        self._checked = 0
        self._described_at = -math.inf
        self._upload.open()

    def _upload_active(self) -> bool:
        """Upload the last checkpoint of the running job whose last upload is the longest ago."""
        now = time.monotonic()
        for number in sorted(self._sweep.active(), key=self._next_upload):
            if self._next_upload(number) > now:
                return False
            job = self._job(number)
            if job is not None and self._upload_changed(number, job.folder):
                return True
        return False

    def _next_upload(self, number: int) -> float:
        """Return the value of time.monotonic() before which a running job is not uploaded again."""
        return self._not_before.get(number, 0.0)

    def _upload_changed(self, number: int, folder: RunFolder) -> bool:
        """Upload the run of a job if it has a new checkpoint, and return whether it has one."""
        stamp = run_stamp(folder.path)
        if stamp == self._stamps.get(number, "") or folder.begun() is None:
            return False

        self._stamps[number] = stamp
        self._upload.run(folder)
        self._not_before[number] = time.monotonic() + LIVE_SECONDS
        return True

    def _upload_ended(self) -> bool:
        """Upload the run of a job that ended, and return whether there is one."""
        for number in self._sweep.ended():
            if number in self._ended:
                continue
            job = self._job(number)
            if job is None:
                continue

            self._ended.add(number)
            if job.folder.record() is not None:
                self._upload.run(job.folder)
                return True
        return False

    def _upload_earlier(self) -> bool:
        """Upload a run that was trained before this start, so that MLflow nests it under the sweep.

        At most `MOST_CHECKED` jobs are checked.

        Returns:
            Whether there is such a run.
        """
        for job in self._jobs[self._checked : self._checked + MOST_CHECKED]:
            self._checked += 1
            if job.folder.record() is not None and job.number not in self._ended:
                self._ended.add(job.number)
                self._upload.run(job.folder)
                return True
        return False

    def _job(self, number: int) -> Job | None:
        """Return a job by its number; None if it is not in the sweep folder yet."""
        if number >= len(self._jobs):
            try:
                # In place, because the monitor shares the list.
                self._jobs[:] = self._sweep.jobs()
            except DamagedError:
                return None

        if number >= len(self._jobs):
            return None
        return self._jobs[number]


def run_stamp(folder: Path) -> str:
    """Return a text that changes with each checkpoint and with the end of a run."""
    stamps = []
    for name in ("job.json", "history.json", "record.json"):
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        stamps.append(f"{name} {status.st_ino} {status.st_mtime_ns}")
    return "; ".join(stamps)
