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
    connection: StoreConnection, folder: RunFolder, settings: RunUpload, *, last: bool = False
) -> str | None:
    """Upload a run and return its MLflow run ID, or None on failure.

    If the disk is too full to export the model, upload at least how the run ended.

    Args:
        connection: connection to the store.
        folder: folder of the run.
        settings: settings of the upload.
        last: whether to try even if the store has just failed.
    """

    def send(store: Store) -> str:
        try:
            return upload_run(folder, store, settings)
        except OSError as e:
            if settings.export is not None and e.errno in DISK_ERRORS:
                upload_run(folder, store, replace(settings, export=None))
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
        """Upload a run of the sweep up to its last checkpoint, without its model.

        Returns:
            The ID of its MLflow run; None on failure.
        """
        parent = self.open()
        if parent is None:
            return None
        return send_run(self._connection, folder, RunUpload(parent=parent, user=self._user))

    def open(self) -> str | None:
        """Show the current start of the sweep in its MLflow run.

        Returns:
            The ID of that run; None on failure.
        """
        with self._sweep.upload_lock():
            return self._connection.attempt(OWN_RUN, self._opened)

    def describe(self, progress: SweepProgress) -> None:
        """Show the progress of the sweep in its MLflow run."""
        describe = partial(describe_parent, sweep=self._sweep, progress=progress)
        with self._sweep.upload_lock():
            self._connection.attempt(OWN_RUN, describe)

    def complete(self, show: Show) -> UploadCount:
        """Upload everything that the store lacks, after the sweep has ended.

        Args:
            show: function that shows how many runs have been uploaded.

        Returns:
            The results that are still missing.
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
        """Upload the runs and the report of the sweep, and end its MLflow run."""
        ended_results = [result for result in results if result.record is not None]
        folders = {result.job.run: result.job.folder for result in ended_results}
        look_up = partial(find_alive, folders.values())
        self._connection.attempt("uploaded runs", look_up, last=True)
        parent = self._connection.attempt(OWN_RUN, self._opened, last=True)
        if parent is None:
            return

        runs_with_model = models_of(results)
        store = self._connection.name
        if any(_lacks_model(folders[run], store) for run in runs_with_model):
            self._exporter.start()  # it imports torch while runs are uploaded
        for number, (run, folder) in enumerate(folders.items()):
            show(number, len(folders))
            export = self._exporter.export if run in runs_with_model else None
            send_run(self._connection, folder, RunUpload(parent, self._user, export))
        show(len(folders), len(folders))

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

        def report_text(store: Store) -> bool:
            report(store, with_pictures=False)
            return True

        is_reported = self._connection.attempt(OWN_RUN, report_text) is not None
        plots = results[0].job.config.tracking.plots
        if plots and self._sweep.started().outcome is Outcome.finished:
            # Separately, because the text is needed even if a picture cannot be drawn.
            self._connection.attempt(OWN_RUN, partial(report, with_pictures=True))

        close = partial(close_parent, sweep=self._sweep, results=results, is_reported=is_reported)
        self._connection.attempt(OWN_RUN, close)

    def _warn_passed_over(self, folder: RunFolder) -> None:
        line = self._connection.attempt(str(folder.path), partial(passed_over_run, folder))
        if line:
            log.warning("%s", line)

    def _opened(self, store: Store) -> str:
        """Return the ID of the sweep's MLflow run.

        The MLflow run is opened if it does not show the current start.
        """
        plan = self._sweep.started()
        entry = self._sweep.delivered().run_in(store.name)
        if entry is None or entry.started != plan.starts:
            return open_parent(store, self._sweep)
        if not alive(store, entry.run_id):
            return open_parent(store, self._sweep)
        return entry.run_id

    def _save_database_state(self) -> None:
        entry = self._sweep.delivered().run_in(self._connection.name)
        if entry is not None:
            state = database_state(self._connection.uri)
            self._sweep.set_delivered(replace(entry, database=state))


def _lacks_model(folder: RunFolder, store: str) -> bool:
    """Return whether a store has not received the model of a run."""
    entry = folder.delivered().run_in(store)
    return entry is None or not entry.model
