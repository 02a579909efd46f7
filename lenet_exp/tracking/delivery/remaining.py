"""Counts results that have not been uploaded to a store yet, based on the upload records in the run folders."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lenet_exp.folders.records import DeliveredRun, Outcome
from lenet_exp.folders.run_folder import RunFolder


@dataclass(frozen=True)
class UploadCount:
    """The number of uploads, counted separately for runs, best models, and MLflow runs that represent sweeps."""

    runs: int = 0
    models: int = 0
    sweeps: int = 0

    def __add__(self, other: UploadCount) -> UploadCount:
        return UploadCount(self.runs + other.runs, self.models + other.models, self.sweeps + other.sweeps)

    def __bool__(self) -> bool:
        return bool(self.runs or self.models or self.sweeps)

    def __str__(self) -> str:
        """Return the counts as text: `2 runs, 1 model, 1 sweep summary`, or `nothing`."""
        parts = [f"{n} {name}{'s' * (n > 1)}" for n, name in ((self.runs, "run"), (self.models, "model")) if n]
        if self.sweeps:
            parts.append("1 sweep summary" if self.sweeps == 1 else f"{self.sweeps} sweep summaries")
        return ", ".join(parts) or "nothing"


def remaining_uploads(folder: RunFolder, store: str, *, model: bool, parent: str | None = None) -> UploadCount:
    """Count the results of a run that have not been uploaded to a store.

    Args:
        store: name of the store.
        model: whether the best model must also be uploaded, if the run is finished and its folder contains the weights.
        parent: MLflow run ID of the sweep under which the run must be nested; None if nesting is not required.
    """
    record = folder.record()
    if folder.begun() is None:
        return UploadCount()
    entry = folder.delivered().run_in(store)
    ended_ms = record.ended_ms if record is not None else None
    whole = entry is not None and entry.ended_ms == ended_ms and (parent is None or parent in entry.sweeps)
    finished = record is not None and record.outcome is Outcome.finished
    lacks_model = model and finished and not (entry is not None and entry.model) and folder.best_arrays() is not None
    return UploadCount(runs=int(not whole), models=int(lacks_model))


def uploaded_between(before: DeliveredRun | None, after: DeliveredRun | None) -> UploadCount:
    """Count the results of a run that were uploaded to a store between two versions of its upload record.

    Args:
        before: earlier version of the upload record; None if the run had not been uploaded.
        after: later version of the upload record; None if the run has still not been uploaded.
    """
    if after is None or after == before:
        return UploadCount()
    had_model = before is not None and before.run_id == after.run_id and before.model
    same = before is not None and replace(before, model=after.model) == after
    return UploadCount(runs=int(not same), models=int(after.model and not had_model))
