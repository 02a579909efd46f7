"""Determines which MLflow runs a removal deletes and which runs stay, and applies these changes.

An MLflow run is deleted only if a folder in this outputs folder refers to it and its tags refer to
that folder. Runs and models are deleted as in MLflow's UI: they can be restored until you run
`mlflow gc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.addresses import full_uri, sqlite_path
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.tracking.stores.mlflow_runs import join_sweeps
from lenet_exp.tracking.stores.store import Store, answering, connect, ignored, runs_by_id
from lenet_exp.tracking.stores.usable import check_store

if TYPE_CHECKING:
    from lenet_exp.tracking.stores.store import Run

MOST = 50_000  # maximum number of model versions or experiments to read
SWEEPS, PARENT = "sweeps", "mlflow.parentRunId"  # tags that link a run to sweeps


@dataclass(frozen=True)
class Changes:
    """The changes that a removal makes in a single store.

    Attributes:
        store: store to change.
        delete: MLflow runs to delete: first those of run folders, then those of sweeps.
        leave: MLflow runs that stay but no longer belong to the removed sweeps.
        removed: IDs of the sweeps' own MLflow runs that are deleted.
        kept: reason why an MLflow run stays although its folder is removed, keyed by the ID of the
            MLflow run.
        registered: reason why a run with a registered model stays, keyed by the ID of the run
            folder.
    """

    store: Store
    delete: list[Run]
    leave: list[Run]
    removed: set[str]
    kept: dict[str, str]
    registered: dict[str, str]


def ids_in(folder: RunFolder) -> dict[str, list[str]]:
    """Return the IDs of a run folder's MLflow runs, keyed by store name. Runs from earlier attempts
    are included.
    """
    found: dict[str, list[str]] = {}
    for entry in (*folder.delivered().mlflow_runs, *folder.abandoned()):
        found.setdefault(entry.store, []).extend([entry.run_id, *entry.former, *entry.abandoned])
    return found


def open_stored(name: str, outputs: Path) -> Store:
    """Open the store with the given name, as recorded in run and sweep folders.

    Raises:
        ConfigError: the address is invalid.
        StoreError: the store does not respond or cannot be written to.
    """
    uri = full_uri(name)
    check_store(uri)
    return Store(uri, connect(uri), experiment_id="", outputs=outputs)


def registered_in(store: Store) -> dict[str, str]:
    """Return the name and version of each registered model.

    Each model is listed twice: under the ID of its MLflow run and under the ID of its logged model.
    """
    with answering(store.uri):
        return {
            str(key): f"{version.name} version {version.version}"
            for version in store.client.search_model_versions(max_results=MOST)
            for key in (version.run_id, version.model_id)
            if key
        }


def changes_in(
    store: Store,
    going: Sequence[RunFolder],
    staying: Sequence[RunFolder],
    sweeps: Sequence[SweepFolder],
) -> Changes:
    """Return the changes that a removal makes in a single store.

    Args:
        going: run folders to remove.
        staying: run folders that stay.
        sweeps: sweeps to remove.
    """
    folders = {
        run_id: folder
        for folder in (*going, *staying)
        for run_id in ids_in(folder).get(store.name, ())
    }
    parents: dict[str, SweepFolder] = {}
    for sweep in sweeps:
        sweep_run = sweep.delivered().run_id(store.name)
        if sweep_run is not None:
            parents[sweep_run] = sweep
    found = _find(store, [*folders, *parents])
    delete: list[Run] = []
    leave: list[Run] = []
    kept: dict[str, str] = {}
    registered: dict[str, str] = {}

    delete_last: list[Run] = []
    for run_id, sweep in parents.items():
        run = found.get(run_id)
        if run is not None and _is_of(run, sweep, store):
            delete_last.append(run)
        elif run is not None:
            kept[run_id] = (
                f"its sweep is in a different outputs folder ({run.data.tags.get('sweep_folder')})"
            )
    removed = {run.info.run_id for run in delete_last}

    models = registered_in(store)
    other_sweeps = _find(
        store, {sweep for run in found.values() for sweep in _sweeps(run)} - removed
    )
    paths_staying = {folder.path for folder in staying}
    for run_id, folder in folders.items():
        run = found.get(run_id)
        if run is None:
            continue
        if folder.path in paths_staying:
            leave.append(run)
            continue
        names = [models[key] for key in (run_id, *_models(run)) if key in models]
        users = [sweep for sweep in _sweeps(run) if sweep in other_sweeps]
        if names:
            kept[run_id] = registered[folder.id] = f"its model is registered as {names[0]}"
        elif users:
            kept[run_id] = f"also used by the sweep with MLflow run {users[0]}"
        elif run.data.tags.get("run_folder") != folder.id or _is_copied_from_store(folder):
            kept[run_id] = "trained in a different outputs folder"
        if run_id in kept:
            leave.append(run)
        else:
            delete.append(run)
    return Changes(store, [*delete, *delete_last], leave, removed, kept=kept, registered=registered)


def apply(changes: Changes) -> None:
    """Apply the changes to the store. Repeated calls have no further effect.

    Raises:
        StoreError: the store no longer responds.
    """
    client = changes.store.client
    with answering(changes.store.uri):
        for run in changes.leave:
            left = [sweep for sweep in _sweeps(run) if sweep not in changes.removed]
            if not changes.removed & {*_sweeps(run), run.data.tags.get(PARENT)}:
                continue
            if left:
                join_sweeps(changes.store, run.info.run_id, left)
            for tag in () if left else {SWEEPS, PARENT} & run.data.tags.keys():
                client.delete_tag(run.info.run_id, tag)
        for run in changes.delete:
            for model in _models(run):
                with ignored("RESOURCE_DOES_NOT_EXIST"):
                    client.delete_logged_model(model)
            with ignored("RESOURCE_DOES_NOT_EXIST"):
                client.delete_run(run.info.run_id)


def _find(store: Store, ids: Iterable[str]) -> dict[str, Run]:
    """Return the MLflow runs with these IDs, keyed by ID; missing and deleted runs are omitted."""
    with answering(store.uri):
        experiments = [
            experiment.experiment_id
            for experiment in store.client.search_experiments(max_results=MOST)
        ]
        return runs_by_id(store.client, experiments, ids) if experiments else {}


def _is_of(run: Run, sweep: SweepFolder, store: Store) -> bool:
    """Return whether an MLflow run belongs to a sweep in this outputs folder rather than to a copy
    of the sweep.
    """
    database, tags = sqlite_path(store.uri), run.data.tags
    place = store.outputs / "sweeps" / sweep.id
    is_here = (database is not None and database.parent == store.outputs) or tags.get(
        "sweep_folder"
    ) == str(place)
    return is_here and tags.get("sweep") == sweep.id


def _is_copied_from_store(folder: RunFolder) -> bool:
    """Return whether release 0.3 copied a run from a shared store: it has a record, but no epoch
    was trained here.
    """
    record = None if folder.log_file.exists() else folder.record()
    return record is not None and record.epochs > 0 and not folder.history().epochs


def _sweeps(run: Run) -> list[str]:
    return [sweep for sweep in run.data.tags.get(SWEEPS, "").split(",") if sweep]


def _models(run: Run) -> list[str]:
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
