"""Uploads the results in an outputs folder that are missing from their MLflow stores.

This is the work of `lenet-sync`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from lenet_exp.amounts import number_of
from lenet_exp.config.schema import LoggedModels, Tracking
from lenet_exp.errors import UserError, first_line
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import end_killed_run, end_killed_sweep, job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.stopping import raise_discarded
from lenet_exp.tracking.models.exporter import ModelExporter
from lenet_exp.tracking.run_uploads.remaining import (
    UploadCount,
    remaining_sweep_uploads,
    remaining_uploads,
    uploaded_between,
)
from lenet_exp.tracking.run_uploads.upload import RunUpload
from lenet_exp.tracking.stores.connection import StoreConnection
from lenet_exp.tracking.sweep_runs.upload import SweepUpload, send_run
from lenet_exp.tracking.uploader.follow import SweepFollower
from lenet_exp.tracking.uploader.outputs_stores import Destination, OutputsStores
from lenet_exp.waiting import Counting

LOOK_SECONDS = 0.5
# errors of a corrupt folder, which must not affect other folders
DAMAGED = (OSError, ValueError, UserError)

log = logging.getLogger("lenet_exp")


class Sync:
    """One execution of `lenet-sync`.

    Args:
        stores: MLflow stores of the outputs folder.
        everything: whether to upload everything again, because a store was restored from a backup.

    Attributes:
        uploaded: number of results that were uploaded so far.
        missing: number of results that the stores of the checked sweeps and runs still lack.
        owned: number of sweeps and runs that were skipped because a running process owns them.
    """

    def __init__(self, stores: OutputsStores, *, everything: bool = False) -> None:
        self.uploaded = UploadCount()
        self.missing = UploadCount()
        self.owned = 0
        self._stores = stores
        self._everything = everything
        self._exporter = ModelExporter()
        # Run folders that belong to a sweep, and the destination of the sweep.
        self._in_sweeps: set[tuple[Path, Destination]] = set()
        # A sweep that contains the run, keyed by run folder.
        self._sweep_of: dict[Path, SweepFolder] = {}
        # Run folders that are uploaded again, and the name of the store.
        self._forgotten: set[tuple[Path, str]] = set()

    def close(self) -> None:
        """End the process that exports models."""
        self._exporter.close()

    def learn_sweeps(self, sweeps: Iterable[SweepFolder]) -> None:
        """Record which runs belong to sweeps, without uploading anything."""
        for sweep in sweeps:
            with contextlib.suppress(*DAMAGED):
                self._learn_sweep(sweep, sweep.jobs())

    def sync_sweeps(self, sweeps: Iterable[SweepFolder]) -> None:
        """Upload each sweep's own MLflow run, with all runs of the sweep nested under it."""
        for sweep in sweeps:
            sync = partial(self._sync_sweep, sweep)
            self._count_failure(f"sweep {sweep.path}", UploadCount(sweeps=1), sync)

    def sync_runs(self, folders: Iterable[RunFolder]) -> None:
        """Upload each run to the store in its configuration.

        A run whose sweep has already uploaded it there is skipped.
        """
        for folder in folders:
            begun = folder.begun()
            if begun is None:
                continue

            tracking = begun.config.tracking
            destination = self._stores.destination(tracking, None)
            if (folder.path, destination) in self._in_sweeps:
                continue
            if self._is_elsewhere(folder, tracking, destination.store):
                continue

            sync = partial(self._sync_run, folder, tracking)
            self._count_failure(f"run {folder.path}", UploadCount(runs=1), sync)

    def follow(self, sweep: SweepFolder) -> None:
        """Upload a sweep while it runs in another process, until it ends."""
        follower: SweepFollower | None = None
        while sweep.owner() is not None:
            if follower is None:
                follower = self._follower(sweep)
            while follower is not None and follower.look():
                raise_discarded()
            raise_discarded()
            time.sleep(LOOK_SECONDS)

    def _follower(self, sweep: SweepFolder) -> SweepFollower | None:
        """Return a follower of a sweep; None if it has no jobs yet, or its store is unusable."""
        jobs = sweep.jobs()
        if not jobs:
            return None
        connection = self._stores.connection(jobs[0].config.tracking, sweep.started().tracking_uri)
        if connection is None:
            return None
        return SweepFollower(sweep, SweepUpload(sweep, connection, self._exporter, user=None))

    def _learn_sweep(self, sweep: SweepFolder, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._sweep_of[job.folder.path] = sweep

    def _is_elsewhere(self, folder: RunFolder, tracking: Tracking, store: str) -> bool:
        """Return whether a run was completely uploaded, but only to other stores.

        The store address in the configuration may contain a typo, so such a run is not uploaded to
        that store.

        Args:
            folder: folder of the run.
            tracking: values of the run's `tracking.*` flags.
            store: name of the store in its configuration.
        """
        record = folder.record()
        entries = folder.delivered().mlflow_runs
        if self._stores.are_replaced or tracking.uri is None:
            return False
        if record is None or any(entry.store == store for entry in entries):
            return False
        return any(entry.ended_ms == record.ended_ms for entry in entries)

    def _count_failure(self, subject: str, lost: UploadCount, sync: Callable[[], None]) -> None:
        """Call a function, and count its results as missing if the folder is corrupt.

        Args:
            subject: the sweep or the run, for the warning.
            lost: what is missing if the function fails.
            sync: function that uploads the sweep or the run.
        """
        try:
            sync()
        except DAMAGED as e:
            error = f"{type(e).__name__}: {first_line(e)}"
            log.warning("%s: cannot be uploaded (%s)", subject, error)
            self.missing += lost

    def _sync_sweep(self, sweep: SweepFolder) -> None:
        plan = sweep.started()
        jobs = sweep.jobs()
        if not jobs:  # no jobs have been created yet
            return

        tracking = jobs[0].config.tracking
        destination = self._stores.destination(tracking, plan.tracking_uri)
        self._in_sweeps |= {(job.folder.path, destination) for job in jobs}
        self._learn_sweep(sweep, jobs)
        if sweep.owner() is not None:
            self.owned += 1
            return

        if plan.outcome is Outcome.running:
            with sweep.claim():
                end_killed_sweep(sweep)

        connection = self._stores.connection(tracking, plan.tracking_uri)
        if connection is not None:
            self._upload_sweep(sweep, jobs, connection)
            return
        results = job_results(sweep, jobs, plan.started_ms)
        self.missing += remaining_sweep_uploads(sweep, destination.store, results)

    def _upload_sweep(
        self, sweep: SweepFolder, jobs: list[Job], connection: StoreConnection
    ) -> None:
        store = connection.name
        folders = {job.run: job.folder for job in jobs}
        if self._everything:
            sweep.forget_upload(store)
            for folder in folders.values():
                self._forget(folder, store)

        entries_before = {run: folder.delivered().run_in(store) for run, folder in folders.items()}
        ended_before = self._ended_run(sweep, store)

        upload = SweepUpload(sweep, connection, self._exporter, user=None)
        counting = Counting(f"uploading runs of sweep {sweep.id}")
        self.missing += upload.complete(lambda done, of: counting.show(done, number_of(of, "run")))

        for run, folder in folders.items():
            entry = folder.delivered().run_in(store)
            self.uploaded += uploaded_between(entries_before[run], entry)
        ended = self._ended_run(sweep, store)
        if ended is not None and ended != ended_before:
            self.uploaded += UploadCount(sweeps=1)

    def _ended_run(self, sweep: SweepFolder, store: str) -> str | None:
        """Return the ID of the sweep's MLflow run; None if it does not show the sweep's end."""
        entry = sweep.delivered().run_in(store)
        if entry is None or entry.ended != sweep.started().starts:
            return None
        return entry.run_id

    def _sync_run(self, folder: RunFolder, tracking: Tracking) -> None:
        sweep = self._sweep_of.get(folder.path)
        if owner_of(folder.path) is not None:
            self.owned += 1
            return
        if sweep is not None and sweep.owner() is not None:
            self.owned += 1
            return

        end_killed_run(folder)
        connection = self._stores.connection(tracking, None)
        if connection is not None:
            store = connection.name
        else:
            store = self._stores.destination(tracking, None).store

        parent = None
        if sweep is not None:
            parent = sweep.delivered().run_id(store)
        wants_model = tracking.models is LoggedModels.all
        if sweep is None and tracking.models is LoggedModels.best:
            wants_model = True

        if connection is not None:
            self._upload_run(folder, connection, parent=parent, wants_model=wants_model)
        self.missing += remaining_uploads(folder, store, model=wants_model, parent=parent)

    def _upload_run(
        self,
        folder: RunFolder,
        connection: StoreConnection,
        *,
        parent: str | None,
        wants_model: bool,
    ) -> None:
        store = connection.name
        if self._everything:
            self._forget(folder, store)

        entry_before = folder.delivered().run_in(store)
        export = self._exporter.export if wants_model else None
        send_run(connection, folder, RunUpload(parent=parent, export=export))
        self.uploaded += uploaded_between(entry_before, folder.delivered().run_in(store))

    def _forget(self, folder: RunFolder, store: str) -> None:
        """Record that a store may lack any result of a run, once for each run and store."""
        if (folder.path, store) in self._forgotten or folder.begun() is None:
            return
        self._forgotten.add((folder.path, store))
        folder.forget_upload(store)
