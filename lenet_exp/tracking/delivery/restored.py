"""What a store still has of what was delivered: somebody may delete runs, and a store may come back as an older backup.

It has less then than the folders' books say. They are set back to what it has, so that the rest is sent again: a point
that is resent with its stored stamp is the same point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lenet_exp.folders.records import DeliveredRun
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.models.champion import is_owed
from lenet_exp.tracking.models.model import has_files
from lenet_exp.tracking.stores.points import EPOCH_METRICS
from lenet_exp.tracking.stores.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGE = 1000
FILES = {"config.yaml", "record.json"}  # of a run that has ended


def learn(folders: Iterable[RunFolder], store: Store) -> bool:
    """Which delivered runs the store still has and how much of each, by one query for a thousand of them, and one more
    for each data set. What a store has not got is delivered again when its turn comes.

    Returns:
        Whether it has all that it was given.
    """
    known, lost = _known(folders, store), 0
    crowned: dict[str, tuple[float, RunFolder, DeliveredRun, Run]] = {}
    for start in range(0, len(known), PAGE):
        page = list(known)[start : start + PAGE]
        lost += len(page)
        names = ", ".join(f"'{run_id}'" for run_id in page)
        query = f"attributes.run_id IN ({names})"
        found = store.client.search_runs([store.experiment_id], query, max_results=PAGE)
        for run_id in set(page) - {run.info.run_id for run in found}:
            _set_back(*known[run_id], None, store)
        for run in found:
            folder, entry = known[run.info.run_id]
            store.seen.add(run.info.run_id)
            if _lacks(run, entry):
                _set_back(folder, entry, run, store)
                continue
            lost -= 1
            if entry.model and (value := run.data.metrics.get("best_val_accuracy")) is not None:
                dataset = run.data.params["dataset"]
                if dataset not in crowned or value > crowned[dataset][0]:
                    crowned[dataset] = value, folder, entry, run
    for _, folder, entry, run in crowned.values():
        record = folder.record()
        if record is not None and is_owed(store, record, run.info.run_id):
            _set_back(folder, entry, run, store)
            lost += 1
    return not lost


def learn_files(folders: Iterable[RunFolder], store: Store) -> None:
    """Whether their files are there too, which are kept elsewhere than the database and may be of another backup.

    An older one lacks what was delivered last: one run after the other is looked at, from the last one on, until one
    has its files.
    """
    known = [(folder, entry) for folder, entry in _known(folders, store).values() if entry.ended_ms is not None]
    for folder, entry in sorted(known, key=lambda found: -found[0].delivered_ns()):
        if entry.run_id not in store.seen:  # the store has lost all of it
            continue
        run = store.client.get_run(entry.run_id)
        models = [output.model_id for output in run.outputs.model_outputs] if run.outputs and entry.model else []
        there = {artifact.path for artifact in store.client.list_artifacts(entry.run_id)}
        if there >= FILES and all(has_files(store, model) for model in models):
            return
        _set_back(folder, entry, run, store)


def _known(folders: Iterable[RunFolder], store: Store) -> dict[str, tuple[RunFolder, DeliveredRun]]:
    """By MLflow run, as far as the folders know."""
    found = {}
    for folder in {folder.path: folder for folder in folders}.values():
        entry = folder.delivered().of(store.name)
        if entry is not None:
            found[entry.run_id] = folder, entry
    return found


def _lacks(run: Run, entry: DeliveredRun) -> bool:
    """Whether the store has less of a run, or another end, than its folder's books say."""
    begun = bool(run.data.params and run.inputs and run.inputs.dataset_inputs)
    models = run.outputs.model_outputs if run.outputs else []
    return (
        not begun
        or _epochs(run) < entry.epochs
        or _ended_ms(run) != entry.ended_ms
        or (entry.model and not models)
        or not set(entry.sweeps) <= set(_sweeps(run))
    )


def _set_back(folder: RunFolder, entry: DeliveredRun, run: Run | None, store: Store) -> None:
    """As the store has the run; None: not at all, and it is made anew, unless somebody restores it."""
    with folder.delivery_lock():
        delivered = folder.delivered()
        if delivered.of(store.name) != entry:  # another process has delivered meanwhile
            return
        back = replace(
            entry,
            begun=False,
            epochs=0,
            # The end is told again; a run that goes on is told to go on.
            ended_ms=_ended_ms(run) if run is not None and folder.record() is None else None,
            model=False,
            reason=run.data.tags.get("reason", "") if run is not None else entry.reason,
        )
        folder.set_delivered(delivered.having(back))


def _epochs(run: Run) -> int:
    """How many epochs it has whole: a metric's last point tells its step."""
    steps = {metric.key: metric.step for metric in run.data._metric_objs}
    return min((steps[name] for name in EPOCH_METRICS if name in steps), default=0)


def _ended_ms(run: Run) -> int | None:
    return None if run.info.status == "RUNNING" else run.info.end_time


def _sweeps(run: Run) -> Sequence[str]:
    return [sweep for sweep in run.data.tags.get("sweeps", "").split(",") if sweep]
