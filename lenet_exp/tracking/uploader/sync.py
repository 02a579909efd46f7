"""Uploads the results in an outputs folder that are missing from their MLflow stores, for
`lenet-sync`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lenet_exp.addresses import frozen_uri, store_uri
from lenet_exp.amounts import number_of
from lenet_exp.config.schema import LoggedModels, StoreAddress, Tracking
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
from lenet_exp.tracking.stores.time_limit import CallLimit
from lenet_exp.tracking.sweep_runs.upload import SweepUpload, send_run
from lenet_exp.tracking.uploader.follow import SweepFollower
from lenet_exp.waiting import Counting

LOOK_SECONDS = 0.5
DAMAGED = (
    OSError,
    ValueError,
    UserError,
)  # errors of a corrupt folder, which must not affect others

log = logging.getLogger("lenet_exp")


class Stores:
    """The MLflow stores for the runs in an outputs folder. Each of them is opened only once.

    Args:
        outputs: path of the outputs folder.
        uri: address of a store that replaces all others; by default, the value of
            MLFLOW_TRACKING_URI.

    Attributes:
        given: whether a single specified store receives all results.
    """

    def __init__(self, outputs: Path, uri: str | None = None) -> None:
        self._outputs = outputs
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
        self.given = self._uri is not None
        self._limit = CallLimit()
        self._connections: dict[tuple[str, str], StoreConnection | None] = {}

    def place(self, tracking: Tracking, kept: str | None) -> tuple[str, str]:
        """Return the address of a run's store, without a password, and the name of the run's
        experiment.

        Args:
            tracking: values of the run's `tracking.*` flags.
            kept: stored address of the sweep's store; None for a single run or the default store.
        """
        return self.name(kept or tracking.uri), tracking.experiment

    def name(self, kept: str | None) -> str:
        """Return the name of the store at a stored address. The name contains no password."""
        return frozen_uri(store_uri(self._uri or kept, self._outputs)) or ""

    def connection(self, tracking: Tracking, kept: str | None) -> StoreConnection | None:
        """Return the connection to a store, or None if the store cannot be used. A warning is
        logged once.

        Args:
            tracking, kept: see `place`.
        """
        place = self.place(tracking, kept)
        if place not in self._connections:
            address = StoreAddress(
                uri=self._uri or kept or tracking.uri, experiment=tracking.experiment
            )
            connection = StoreConnection(address, self._outputs, self._limit)
            self._connections[place] = connection
            try:
                connection.open()
            except UserError as e:
                log.warning("%s", e)
                self._connections[place] = None
        return self._connections[place]


@dataclass
class Sync:
    """One execution of `lenet-sync`.

    Attributes:
        stores: MLflow stores of the outputs folder.
        again: whether to upload everything again, because a store was restored from a backup.
        delivered, left: numbers of uploaded results and remaining results, for all sweeps and runs
            checked so far.
        owned: number of sweeps and runs that were skipped because a running process owns them.
    """

    stores: Stores
    again: bool = False
    delivered: UploadCount = UploadCount()
    left: UploadCount = UploadCount()
    owned: int = 0
    _exporter: ModelExporter = field(default_factory=ModelExporter)
    _seen: set[tuple[Path, tuple[str, str]]] = field(
        default_factory=set
    )  # run folders of sweeps, and their stores
    _swept: dict[Path, SweepFolder] = field(
        default_factory=dict
    )  # for each run folder, a sweep that contains it
    _forgotten: set[tuple[Path, str]] = field(
        default_factory=set
    )  # run folders that are uploaded again, and the store

    def close(self) -> None:
        """End the process that exports models."""
        self._exporter.close()

    def learn_sweeps(self, sweeps: Iterable[SweepFolder]) -> None:
        """Record which runs belong to sweeps, without uploading anything."""
        for sweep in sweeps:
            with contextlib.suppress(*DAMAGED):
                self._swept.update((job.folder.path, sweep) for job in sweep.jobs())

    def sync_sweeps(self, sweeps: Iterable[SweepFolder]) -> None:
        """Upload each sweep's own MLflow run, with all runs of the sweep nested under it."""
        for sweep in sweeps:
            self._guarded(f"sweep {sweep.path}", UploadCount(sweeps=1), partial(self._sweep, sweep))

    def sync_runs(self, folders: Iterable[RunFolder]) -> None:
        """Upload each run to the store in its configuration, unless its sweep has already uploaded
        it there.
        """
        for folder in folders:
            begun = folder.begun()
            if begun is None:
                continue
            tracking = begun.config.tracking
            place = self.stores.place(tracking, None)
            if (folder.path, place) in self._seen or self._is_elsewhere(folder, tracking, place[0]):
                continue
            self._guarded(
                f"run {folder.path}", UploadCount(runs=1), partial(self._run, folder, tracking)
            )

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
        jobs = sweep.jobs()
        if not jobs:
            return None
        connection = self.stores.connection(jobs[0].config.tracking, sweep.started().tracking_uri)
        if connection is None:
            return None
        return SweepFollower(sweep, SweepUpload(sweep, connection, self._exporter, user=None))

    def _is_elsewhere(self, folder: RunFolder, tracking: Tracking, name: str) -> bool:
        """Return whether a run was completely uploaded, but only to stores other than the one in
        its configuration.

        The store address in the configuration may contain a typo, so such a run is not uploaded to
        that store.
        """
        record = folder.record()
        entries = folder.delivered().mlflow_runs
        if (
            self.stores.given
            or tracking.uri is None
            or any(entry.store == name for entry in entries)
        ):
            return False
        return any(record is not None and entry.ended_ms == record.ended_ms for entry in entries)

    def _guarded(self, what: str, lost: UploadCount, upload: Callable[[], None]) -> None:
        try:
            upload()
        except DAMAGED as e:
            log.warning("%s: cannot be uploaded (%s: %s)", what, type(e).__name__, first_line(e))
            self.left += lost

    def _sweep(self, sweep: SweepFolder) -> None:
        plan = sweep.started()
        jobs = sweep.jobs()
        if not jobs:  # no jobs have been created yet
            return
        tracking = jobs[0].config.tracking
        place = self.stores.place(tracking, plan.tracking_uri)
        self._seen |= {(job.folder.path, place) for job in jobs}
        self._swept.update((job.folder.path, sweep) for job in jobs)
        if sweep.owner() is not None:
            self.owned += 1
            return

        if plan.outcome is Outcome.running:
            with sweep.claim():
                end_killed_sweep(sweep)
        connection = self.stores.connection(tracking, plan.tracking_uri)
        if connection is None:
            results = job_results(sweep, jobs, plan.started_ms)
            self.left += remaining_sweep_uploads(sweep, place[0], results)
        else:
            self._upload_sweep(sweep, jobs, connection)

    def _upload_sweep(
        self, sweep: SweepFolder, jobs: list[Job], connection: StoreConnection
    ) -> None:
        store = connection.name
        folders = {job.run: job.folder for job in jobs}
        if self.again:
            sweep.forget_upload(store)
            for folder in folders.values():
                self._forget(folder, store)

        before = {run: folder.delivered().run_in(store) for run, folder in folders.items()}
        ended_before = self._ended_run(sweep, store)
        upload = SweepUpload(sweep, connection, self._exporter, user=None)
        counting = Counting(f"uploading runs of sweep {sweep.id}")
        self.left += upload.complete(lambda done, of: counting.show(done, number_of(of, "run")))
        for run, folder in folders.items():
            self.delivered += uploaded_between(before[run], folder.delivered().run_in(store))
        ended = self._ended_run(sweep, store)
        self.delivered += UploadCount(sweeps=int(ended not in (None, ended_before)))

    def _ended_run(self, sweep: SweepFolder, store: str) -> str | None:
        """Return the ID of the sweep's MLflow run if it shows the end of the sweep; otherwise,
        None.
        """
        entry = sweep.delivered().run_in(store)
        if entry is None or entry.ended != sweep.started().starts:
            return None
        return entry.run_id

    def _run(self, folder: RunFolder, tracking: Tracking) -> None:
        sweep = self._swept.get(folder.path)
        if owner_of(folder.path) is not None or (sweep is not None and sweep.owner() is not None):
            self.owned += 1
            return

        end_killed_run(folder)
        connection = self.stores.connection(tracking, None)
        name = connection.name if connection is not None else self.stores.place(tracking, None)[0]
        parent = sweep.delivered().run_id(name) if sweep is not None else None
        wants_model = tracking.models is LoggedModels.all
        if tracking.models is LoggedModels.best and sweep is None:
            wants_model = True
        if connection is not None:
            self._upload_run(folder, connection, parent=parent, wants_model=wants_model)
        self.left += remaining_uploads(folder, name, model=wants_model, parent=parent)

    def _upload_run(
        self,
        folder: RunFolder,
        connection: StoreConnection,
        *,
        parent: str | None,
        wants_model: bool,
    ) -> None:
        if self.again:
            self._forget(folder, connection.name)
        before = folder.delivered().run_in(connection.name)
        export = self._exporter.export if wants_model else None
        send_run(connection, folder, RunUpload(parent=parent, export=export))
        self.delivered += uploaded_between(before, folder.delivered().run_in(connection.name))

    def _forget(self, folder: RunFolder, store: str) -> None:
        """Record that a store may lack any result of a run, once for each run and store."""
        if (folder.path, store) not in self._forgotten and folder.begun() is not None:
            self._forgotten.add((folder.path, store))
            folder.forget_upload(store)
