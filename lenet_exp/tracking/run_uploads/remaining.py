"""Counts results that have not been uploaded to a store yet, based on delivered.json in run and
sweep folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lenet_exp.comparison.runs import configuration_of
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import LoggedModels
from lenet_exp.folders.delivered import DeliveredRun
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder


@dataclass(frozen=True)
class UploadCount:
    """The number of uploads, counted separately for runs, best models, and MLflow runs that
    represent sweeps.
    """

    runs: int = 0
    models: int = 0
    sweeps: int = 0

    def __add__(self, other: UploadCount) -> UploadCount:
        return UploadCount(
            self.runs + other.runs, self.models + other.models, self.sweeps + other.sweeps
        )

    def __bool__(self) -> bool:
        return bool(self.runs or self.models or self.sweeps)

    def __str__(self) -> str:
        """Return the counts as text: `2 runs, 1 model, 1 sweep summary`, or `nothing`."""
        parts = []
        if self.runs:
            parts.append(_counted(self.runs, "run"))
        if self.models:
            parts.append(_counted(self.models, "model"))
        if self.sweeps == 1:
            parts.append("1 sweep summary")
        elif self.sweeps:
            parts.append(f"{self.sweeps} sweep summaries")
        return ", ".join(parts) or "nothing"


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def remaining_uploads(
    folder: RunFolder, store: str, *, model: bool, parent: str | None = None
) -> UploadCount:
    """Count the results of a run that have not been uploaded to a store.

    Args:
        store: name of the store.
        model: whether the best model must also be uploaded, if the run is finished and its folder
            contains the weights.
        parent: MLflow run ID of the sweep under which the run must be nested; None if nesting is
            not required.
    """
    begun = folder.begun()
    if begun is None:
        return UploadCount()

    record = folder.record()
    entry = folder.delivered().run_in(store)
    # Release 0.3 did not store the start time of the attempt.
    if entry is not None and entry.created_ms not in (0, begun.created_ms):
        entry = None  # it is about an earlier attempt

    lacks_run = not _is_whole(entry, record, parent)
    lacks_model = model and _lacks_model(folder, entry, record)
    return UploadCount(runs=int(lacks_run), models=int(lacks_model))


def _is_whole(entry: DeliveredRun | None, record: Record | None, parent: str | None) -> bool:
    """Return whether a store has all results of a run, except for its model."""
    if entry is None:
        return False
    if parent is not None and parent not in entry.sweeps:
        return False
    ended_ms = record.ended_ms if record is not None else None
    return entry.ended_ms == ended_ms


def _lacks_model(folder: RunFolder, entry: DeliveredRun | None, record: Record | None) -> bool:
    """Return whether a finished run has weights that a store has not received."""
    if record is None or record.outcome is not Outcome.finished:
        return False
    has_model = entry is not None and entry.model
    return not has_model and folder.best_arrays() is not None


def remaining_sweep_uploads(
    sweep: SweepFolder, store: str, results: Sequence[JobResult]
) -> UploadCount:
    """Count the results of a sweep that have not been uploaded to a store."""
    plan = sweep.started()
    entry = sweep.delivered().run_in(store)
    parent = entry.run_id if entry is not None else None
    left = UploadCount(sweeps=int(entry is None or entry.ended != plan.starts))

    runs_with_model = models_of(results)
    folders = {result.job.run: result.job.folder for result in results}
    for run, folder in folders.items():
        model = run in runs_with_model
        left += remaining_uploads(folder, store, model=model, parent=parent)
    return left


def models_of(results: Sequence[JobResult]) -> set[str]:
    """Return the IDs of the runs in a sweep whose best models must be uploaded.

    With `tracking.models=best`, these are the runs that are the best of their configuration.
    """
    if not results:
        return set()
    models = results[0].job.config.tracking.models
    if models is LoggedModels.none:
        return set()
    finished = [result for result in results if result.outcome is Outcome.finished]
    if models is LoggedModels.all:
        return {result.job.run for result in finished}

    best: dict[str, JobResult] = {}
    for result in finished:
        assert result.record is not None
        configuration = str(configuration_of(result.record.config))
        rival = best.setdefault(configuration, result)
        if _score(result) > _score(rival):
            best[configuration] = result
    return {result.job.run for result in best.values()}


def _score(result: JobResult) -> float:
    return result.value * Metric.of(result.job.config.metric).sign


def uploaded_between(before: DeliveredRun | None, after: DeliveredRun | None) -> UploadCount:
    """Count the results of a run that were uploaded between two versions of its upload record.

    Args:
        before: earlier version of the upload record; None if the run had not been uploaded.
        after: later version of the upload record; None if the run has still not been uploaded.
    """
    if after is None or after == before:
        return UploadCount()
    if before is None:
        return UploadCount(runs=1, models=int(after.model))

    differs_only_in_model = replace(before, model=after.model) == after
    had_model = before.model and before.run_id == after.run_id
    new_model = after.model and not had_model
    return UploadCount(runs=int(not differs_only_in_model), models=int(new_model))
