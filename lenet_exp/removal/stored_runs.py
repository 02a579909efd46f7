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

# The tags that link a run to sweeps.
SWEEPS = "sweeps"
PARENT = "mlflow.parentRunId"


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
    """Return the IDs of a run folder's MLflow runs, keyed by store name.

    Runs from earlier attempts are included.
    """
    ids: dict[str, list[str]] = {}
    for entry in (*folder.delivered().mlflow_runs, *folder.abandoned()):
        ids_in_store = ids.setdefault(entry.store, [])
        ids_in_store += [entry.run_id, *entry.former, *entry.abandoned]
    return ids


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
    names: dict[str, str] = {}
    with answering(store.uri):
        for version in store.client.search_model_versions(max_results=MOST):
            for key in (version.run_id, version.model_id):
                if key:
                    names[str(key)] = f"{version.name} version {version.version}"
    return names


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
    folders = _folders_by_run_id(store, [*going, *staying])
    parents = _sweeps_by_run_id(store, sweeps)
    stored_runs = _find(store, [*folders, *parents])

    kept: dict[str, str] = {}
    registered: dict[str, str] = {}
    delete_first: list[Run] = []  # the runs of run folders
    delete_last: list[Run] = []  # the runs of sweeps
    leave: list[Run] = []

    for run_id, sweep in parents.items():
        run = stored_runs.get(run_id)
        if run is None:
            continue
        if _is_of(run, sweep, store):
            delete_last.append(run)
        else:
            place = run.data.tags.get("sweep_folder")
            kept[run_id] = f"its sweep is in a different outputs folder ({place})"
    removed = {run.info.run_id for run in delete_last}

    models = registered_in(store)
    other_sweeps = _other_sweeps(store, stored_runs.values(), removed)
    paths_staying = {folder.path for folder in staying}
    for run_id, folder in folders.items():
        run = stored_runs.get(run_id)
        if run is None:
            continue
        if folder.path in paths_staying:
            leave.append(run)
            continue

        names = [models[key] for key in (run_id, *_models(run)) if key in models]
        users = [sweep_run for sweep_run in _sweeps(run) if sweep_run in other_sweeps]
        if names:
            reason = f"its model is registered as {names[0]}"
            kept[run_id] = reason
            registered[folder.id] = reason
        elif users:
            kept[run_id] = f"also used by the sweep with MLflow run {users[0]}"
        elif not _is_trained_here(run, folder):
            kept[run_id] = "trained in a different outputs folder"

        if run_id in kept:
            leave.append(run)
        else:
            delete_first.append(run)

    delete = [*delete_first, *delete_last]
    return Changes(store, delete, leave, removed, kept=kept, registered=registered)


def _folders_by_run_id(store: Store, folders: Sequence[RunFolder]) -> dict[str, RunFolder]:
    """Return the run folder of each MLflow run in a store, keyed by the ID of the MLflow run."""
    folders_by_id: dict[str, RunFolder] = {}
    for folder in folders:
        for run_id in ids_in(folder).get(store.name, ()):
            folders_by_id[run_id] = folder
    return folders_by_id


def _sweeps_by_run_id(store: Store, sweeps: Sequence[SweepFolder]) -> dict[str, SweepFolder]:
    """Return the sweep of each MLflow run in a store, keyed by the ID of the MLflow run."""
    sweeps_by_id: dict[str, SweepFolder] = {}
    for sweep in sweeps:
        run_id = sweep.delivered().run_id(store.name)
        if run_id is not None:
            sweeps_by_id[run_id] = sweep
    return sweeps_by_id


def _other_sweeps(store: Store, runs: Iterable[Run], removed: set[str]) -> dict[str, Run]:
    """Return the MLflow runs of the sweeps that contain these runs and stay, keyed by ID."""
    ids: set[str] = set()
    for run in runs:
        ids.update(_sweeps(run))
    return _find(store, ids - removed)


def apply(changes: Changes) -> None:
    """Apply the changes to the store. Repeated calls have no further effect.

    Raises:
        StoreError: the store no longer responds.
    """
    client = changes.store.client
    with answering(changes.store.uri):
        for run in changes.leave:
            _update_tags(run, changes)
        for run in changes.delete:
            for model in _models(run):
                with ignored("RESOURCE_DOES_NOT_EXIST"):
                    client.delete_logged_model(model)
            with ignored("RESOURCE_DOES_NOT_EXIST"):
                client.delete_run(run.info.run_id)


def _update_tags(run: Run, changes: Changes) -> None:
    """Remove the removed sweeps from the tags of a run that stays."""
    if changes.removed.isdisjoint([*_sweeps(run), run.data.tags.get(PARENT)]):
        return

    sweeps = [sweep_run for sweep_run in _sweeps(run) if sweep_run not in changes.removed]
    if sweeps:
        join_sweeps(changes.store, run.info.run_id, sweeps)
        return
    for tag in {SWEEPS, PARENT} & run.data.tags.keys():
        changes.store.client.delete_tag(run.info.run_id, tag)


def _find(store: Store, ids: Iterable[str]) -> dict[str, Run]:
    """Return the MLflow runs with these IDs, keyed by ID; missing and deleted runs are omitted."""
    with answering(store.uri):
        experiments = store.client.search_experiments(max_results=MOST)
        if not experiments:
            return {}
        experiment_ids = [experiment.experiment_id for experiment in experiments]
        return runs_by_id(store.client, experiment_ids, ids)


def _is_of(run: Run, sweep: SweepFolder, store: Store) -> bool:
    """Return whether an MLflow run belongs to a sweep here rather than to a copy elsewhere."""
    tags = run.data.tags
    if tags.get("sweep") != sweep.id:
        return False

    database = sqlite_path(store.uri)
    is_store_here = database is not None and database.parent == store.outputs
    place = store.outputs / "sweeps" / sweep.id
    return is_store_here or tags.get("sweep_folder") == str(place)


def _is_trained_here(run: Run, folder: RunFolder) -> bool:
    """Return whether an MLflow run belongs to a run that was trained in this outputs folder."""
    if run.data.tags.get("run_folder") != folder.id:
        return False
    return not _is_copied_from_store(folder)


def _is_copied_from_store(folder: RunFolder) -> bool:
    """Return whether release 0.3 copied a run from a shared store.

    Such a run has a record with epochs, but none of them was trained here.
    """
    if folder.log_file.exists():
        return False

    record = folder.record()
    if record is None or record.epochs <= 0:
        return False
    return not folder.history().epochs


def _sweeps(run: Run) -> list[str]:
    """Return the IDs of the MLflow runs of a run's sweeps."""
    ids = run.data.tags.get(SWEEPS, "").split(",")
    return [run_id for run_id in ids if run_id]


def _models(run: Run) -> list[str]:
    """Return the IDs of the models that an MLflow run has logged."""
    if not run.outputs:
        return []
    return [output.model_id for output in run.outputs.model_outputs]
