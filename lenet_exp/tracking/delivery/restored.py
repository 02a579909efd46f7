"""Detects uploaded results that an MLflow store has lost, because runs were deleted or an older backup was restored.

If a store has lost results, `delivered.json` in the run folder still lists these results. They are removed from the
list, so that they are uploaded again. If a metric is uploaded again with its stored timestamp, MLflow does not create a
second point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lenet_exp.folders.records import DeliveredRun
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.stores.store import Store, runs_by_id

if TYPE_CHECKING:
    from mlflow.entities import Run


def reset_lost(folders: Iterable[RunFolder], store: Store) -> None:
    """Mark results that the store has lost as not uploaded, so that they are uploaded again.

    Each query checks up to a thousand runs. Runs that have ended are checked only once per process.
    """
    entries = [(folder, entry) for folder in folders if (entry := folder.delivered().run_in(store.name)) is not None]
    known = {e.run_id: (folder, e) for folder, e in entries if e.ended_ms is None or e.run_id not in store.seen}
    there = runs_by_id(store.client, [store.experiment_id], known)
    store.seen.update(there)
    for run_id, (folder, entry) in known.items():
        run = there.get(run_id)
        if run is None or _lacks(run, entry, folder):
            _set_back(folder, entry, run, store)


def _lacks(run: Run, entry: DeliveredRun, folder: RunFolder) -> bool:
    """Return whether an MLflow run lacks results that were uploaded, or has a different end time.

    The end time is uploaded after all metrics.
    """
    models = run.outputs.model_outputs if run.outputs else []
    if _ended_ms(run) != entry.ended_ms or (entry.model and not models):
        return True
    if not set(entry.sweeps) <= set(run.data.tags.get("sweeps", "").split(",")):
        return True
    if entry.ended_ms is not None or not entry.epochs:
        return False
    epochs = folder.history().epochs[: entry.epochs]
    return len(epochs) < entry.epochs or run.data.metrics.get("train_loss") != epochs[-1].train_loss


def _set_back(folder: RunFolder, entry: DeliveredRun, run: Run | None, store: Store) -> None:
    """Reset the upload record of a run to the state of the MLflow run in the store.

    Args:
        run: the run in the store; None if it was deleted. It is then uploaded as a new run, unless it is restored.
    """
    with folder.delivery_lock():
        if folder.delivered().run_in(store.name) != entry:  # another process has uploaded in the meantime
            return
        back = replace(
            entry,
            begun=False,
            epochs=0,
            # The end of an ended run is uploaded again; a resumed run is set to RUNNING again.
            ended_ms=_ended_ms(run) if run is not None and folder.record() is None else None,
            model=False,
            reason=run.data.tags.get("reason", "") if run is not None else entry.reason,
        )
        folder.set_delivered(back)


def _ended_ms(run: Run) -> int | None:
    return None if run.info.status == "RUNNING" else run.info.end_time
