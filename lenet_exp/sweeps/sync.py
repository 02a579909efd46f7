"""Uploads the results in an outputs folder that are missing from their MLflow stores, for `lenet-sync`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.config.schema import LoggedModels, Tracking
from lenet_exp.errors import UserError, first_line
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.results import job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.sweeps.repair import OWN_RUN, close_in_store, end_killed_run, end_killed_sweep
from lenet_exp.sweeps.stores import Stores
from lenet_exp.tracking.delivery.remaining import UploadCount, remaining_uploads, uploaded_between
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.stores.mlflow_runs import alive
from lenet_exp.tracking.stores.store import Store
from lenet_exp.tracking.sweep_runs.parent import models_of, open_parent, remaining_sweep_uploads
from lenet_exp.waiting import with_progress

DAMAGED = (OSError, ValueError, UserError)  # errors of a corrupt folder, which must not affect others

log = logging.getLogger("lenet_exp")


@dataclass
class Sync:
    """One execution of `lenet-sync`.

    Attributes:
        stores: MLflow stores of the outputs folder.
        again: whether to upload everything again, because a store was restored from a backup.
        delivered, left: numbers of uploaded results and remaining results, for all sweeps and runs checked so far.
        owned: number of sweeps and runs that were skipped because a running process owns them.
    """

    stores: Stores
    again: bool = False
    delivered: UploadCount = UploadCount()
    left: UploadCount = UploadCount()
    owned: int = 0
    _seen: set[tuple[Path, tuple[str, str]]] = field(default_factory=set)  # run folders of sweeps, and their stores
    _swept: dict[Path, SweepFolder] = field(default_factory=dict)  # for each run folder, a sweep that contains it
    _forgotten: set[tuple[Path, str]] = field(default_factory=set)  # run folders that are uploaded again, and the store

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
        """Upload each run to the store in its configuration, unless its sweep has already uploaded it there."""
        for folder in folders:
            begun = folder.begun()
            if begun is None:
                continue
            tracking = begun.config.tracking
            where = self.stores.place(tracking, None)
            if (folder.path, where) not in self._seen and not self._is_elsewhere(folder, tracking, where[0]):
                self._guarded(f"run {folder.path}", UploadCount(runs=1), partial(self._run, folder, tracking))

    def _is_elsewhere(self, folder: RunFolder, tracking: Tracking, name: str) -> bool:
        """Return whether a run was completely uploaded, but only to stores other than the one in its configuration.

        The store address in the configuration may contain a typo, so such a run is not uploaded to that store.
        """
        record, runs = folder.record(), folder.delivered().mlflow_runs
        if self.stores.given or tracking.uri is None:
            return False
        known = any(run.store == name for run in runs)
        return not known and any(record is not None and run.ended_ms == record.ended_ms for run in runs)

    def _guarded(self, what: str, lost: UploadCount, deliver: Callable[[], None]) -> None:
        try:
            deliver()
        except DAMAGED as e:
            log.warning("%s: cannot be uploaded (%s: %s)", what, type(e).__name__, first_line(e))
            self.left += lost

    def _sweep(self, sweep: SweepFolder) -> None:
        plan, jobs = sweep.started(), sweep.jobs()
        if not jobs:  # no jobs have been created yet
            return
        where = self.stores.place(jobs[0].config.tracking, plan.tracking_uri)
        self._seen |= {(job.folder.path, where) for job in jobs}
        self._swept.update((job.folder.path, sweep) for job in jobs)
        if sweep.owner() is not None:
            self.owned += 1
            return
        with sweep.claim():
            end_killed_sweep(sweep)
            delivery = self.stores.delivery(jobs[0].config.tracking, plan.tracking_uri)
            if delivery is not None:
                self._deliver_sweep(sweep, jobs, delivery)
            results = job_results(sweep, jobs, plan.started_ms)
            self.left += remaining_sweep_uploads(sweep, where[0] if delivery is None else delivery.name, results)

    def _deliver_sweep(self, sweep: SweepFolder, jobs: list[Job], delivery: StoreDelivery) -> None:
        runs = {job.run: job for job in jobs}
        config = jobs[0].config

        def open_if_incomplete(store: Store) -> str:
            """Return the ID of the sweep's MLflow run, and reopen the run if it is incomplete."""
            plan = sweep.started()
            run_id = plan.mlflow_runs.get(store.name)
            if run_id is not None and store.name not in plan.untold and alive(store, run_id):
                return run_id

            sweep.mark_unreported(store.name)
            return open_parent(store, sweep, config)

        if self.again:
            sweep.forget_report(delivery.name)
        delivery.look_up([job.folder for job in runs.values()])
        delivery.set_parent(OWN_RUN, open_if_incomplete)
        if delivery.parent is None:
            return
        wanted = models_of(job_results(sweep, jobs, sweep.started().started_ms))
        before = self.delivered
        for run, job in with_progress(f"uploading runs of sweep {sweep.id}", list(runs.items())):
            self._send(job.folder, delivery, model=run in wanted)
        results = job_results(sweep, jobs, sweep.started().started_ms)
        untold = delivery.name in sweep.started().untold
        if not untold and self.delivered == before:
            return
        sweep.mark_unreported(delivery.name)
        close_in_store(delivery, sweep, results, compare_sweep(sweep, results))
        self.delivered += UploadCount(sweeps=int(untold and delivery.name not in sweep.started().untold))

    def _run(self, folder: RunFolder, tracking: Tracking) -> None:
        sweep = self._swept.get(folder.path)
        if owner_of(folder.path) is not None or (sweep is not None and sweep.owner() is not None):
            self.owned += 1
            return
        end_killed_run(folder)
        delivery = self.stores.delivery(tracking, None)
        name = delivery.name if delivery is not None else self.stores.place(tracking, None)[0]
        models, parent = tracking.models, sweep.started().mlflow_runs.get(name) if sweep else None
        model = models is LoggedModels.all or (models is LoggedModels.best and sweep is None)
        if delivery is not None:
            delivery.parent = parent
            self._send(folder, delivery, model=model)
        self.left += remaining_uploads(folder, name, model=model, parent=parent)

    def _send(self, folder: RunFolder, delivery: StoreDelivery, *, model: bool) -> None:
        if folder.begun() is None or owner_of(folder.path) is not None:  # owned by another sweep or a single run
            return

        if self.again and (folder.path, delivery.name) not in self._forgotten:
            self._forgotten.add((folder.path, delivery.name))
            folder.forget_upload(delivery.name)

        before = folder.delivered().run_in(delivery.name)
        delivery.send(folder, model=model)
        self.delivered += uploaded_between(before, folder.delivered().run_in(delivery.name))
