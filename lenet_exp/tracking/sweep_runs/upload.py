"""Uploads a sweep and its runs to MLflow. Repeating an upload does not duplicate any data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.files import DISK_ERRORS
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, best_of, job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepProgress
from lenet_exp.tracking.models.exporter import ModelExporter
from lenet_exp.tracking.run_uploads.remaining import UploadCount, models_of, remaining_sweep_uploads
from lenet_exp.tracking.run_uploads.upload import RunUpload, passed_over_run, upload_run
from lenet_exp.tracking.stores.connection import StoreConnection
from lenet_exp.tracking.stores.mlflow_runs import alive, find_alive
from lenet_exp.tracking.stores.store import Store
from lenet_exp.tracking.stores.usable import database_state
from lenet_exp.tracking.sweep_runs.parent import close_parent, describe_parent, open_parent
from lenet_exp.tracking.sweep_runs.report import report_sweep

OWN_RUN = "the sweep's own MLflow run"

log = logging.getLogger("lenet_exp")

Show = Callable[[int, int], None]  # receives the number of uploaded runs, and the number of runs


def send_run(
    connection: StoreConnection, folder: RunFolder, what: RunUpload, *, last: bool = False
) -> str | None:
    """Upload a run and return its MLflow run ID, or None on failure.

    If the disk is too full to export the model, upload at least how the run ended.
    """

    def send(store: Store) -> str:
        try:
            return upload_run(folder, store, what)
        except OSError as e:
            if what.export is not None and e.errno in DISK_ERRORS:
                upload_run(folder, store, replace(what, export=None))
            raise

    return connection.attempt(str(folder.path), send, last=last)


class SweepUpload:
    """The upload of a sweep to one store.

    Args:
        sweep: folder of the sweep.
        connection: connection to the store.
        exporter: exporter of the best models.
        user: user who trains the sweep, for the runs' lists of users; None if there is no such
            user.
    """

    def __init__(
        self,
        sweep: SweepFolder,
        connection: StoreConnection,
        exporter: ModelExporter,
        user: str | None,
    ) -> None:
        self._sweep = sweep
        self._connection = connection
        self._exporter = exporter
        self._user = user

    def run(self, folder: RunFolder) -> str | None:
        """Upload a run of the sweep up to its last checkpoint, without its model, and return its
        MLflow run ID, or None on failure."""
        parent = self.open()
        if parent is None:
            return None
        return send_run(self._connection, folder, RunUpload(parent=parent, user=self._user))

    def open(self) -> str | None:
        """Show the current start of the sweep in its MLflow run, and return the ID of that run, or
        None on failure.
        """
        with self._sweep.upload_lock():
            return self._connection.attempt(OWN_RUN, self._opened)

    def describe(self, progress: SweepProgress) -> None:
        """Show the progress of the sweep in its MLflow run."""
        with self._sweep.upload_lock():
            self._connection.attempt(
                OWN_RUN, lambda store: describe_parent(store, self._sweep, progress)
            )

    def complete(self, show: Show) -> UploadCount:
        """Upload everything that the store lacks, after the sweep has ended, and return what is
        still missing.

        Args:
            show: function that shows how many runs have been uploaded.
        """
        with self._sweep.upload_lock():
            plan = self._sweep.started()
            jobs = self._sweep.jobs()
            results = job_results(self._sweep, jobs, plan.started_ms)
            if results:
                self._complete(results, show)
            left = remaining_sweep_uploads(self._sweep, self._connection.name, results)
            if not left:
                self._save_database_state()
            return left

    def _complete(self, results: Sequence[JobResult], show: Show) -> None:
        with_record = {result.job.run: result for result in results if result.record is not None}
        self._connection.attempt(
            "uploaded runs",
            lambda store: find_alive([r.job.folder for r in with_record.values()], store),
            last=True,
        )
        parent = self._connection.attempt(OWN_RUN, self._opened, last=True)
        if parent is None:
            return
        wanted = models_of(results)
        store = self._connection.name
        if any(_lacks_model(with_record[run].job.folder, store) for run in wanted):
            self._exporter.start()  # it imports torch while runs are uploaded
        for number, (run, result) in enumerate(with_record.items()):
            show(number, len(with_record))
            export = self._exporter.export if run in wanted else None
            send_run(self._connection, result.job.folder, RunUpload(parent, self._user, export))
        show(len(with_record), len(with_record))
        self._report(results)
        best = best_of(results)
        if best is not None:
            self._warn_passed_over(best.job.folder)

    def _report(self, results: Sequence[JobResult]) -> None:
        """Upload the report of the sweep, and end its MLflow run.

        The report is uploaded first, so that an ended MLflow run shows it.
        """
        comparisons = compare_sweep(self._sweep, results)
        report = partial(report_sweep, sweep=self._sweep, results=results, comparisons=comparisons)
        reported = self._connection.attempt(
            OWN_RUN, lambda store: [report(store, with_pictures=False)]
        )
        plots = results[0].job.config.tracking.plots
        if plots and self._sweep.started().outcome is Outcome.finished:
            # Separately, because the text is needed even if a picture cannot be drawn.
            self._connection.attempt(OWN_RUN, partial(report, with_pictures=True))
        close = partial(
            close_parent, sweep=self._sweep, results=results, is_reported=reported is not None
        )
        self._connection.attempt(OWN_RUN, close)

    def _warn_passed_over(self, folder: RunFolder) -> None:
        line = self._connection.attempt(
            str(folder.path), lambda store: passed_over_run(folder, store)
        )
        if line:
            log.warning("%s", line)

    def _opened(self, store: Store) -> str:
        """Return the ID of the sweep's MLflow run, which is opened if it does not show the current
        start.
        """
        plan = self._sweep.started()
        entry = self._sweep.delivered().run_in(store.name)
        if entry is not None and entry.started == plan.starts and alive(store, entry.run_id):
            return entry.run_id
        return open_parent(store, self._sweep)

    def _save_database_state(self) -> None:
        entry = self._sweep.delivered().run_in(self._connection.name)
        if entry is not None:
            state = database_state(self._connection.uri)
            self._sweep.set_delivered(replace(entry, database=state))


def _lacks_model(folder: RunFolder, store: str) -> bool:
    """Return whether a store has not received the model of a run."""
    entry = folder.delivered().run_in(store)
    return entry is None or not entry.model
