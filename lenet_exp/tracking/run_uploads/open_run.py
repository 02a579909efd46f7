"""Opens the MLflow run of a run folder: finds or creates it, and nests it under its sweeps."""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.files import Json
from lenet_exp.folders.delivered import DeliveredRun
from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.stores.mlflow_runs import (
    REPLACED,
    Origin,
    add_user,
    alive,
    close_abandoned,
    close_former,
    create_run,
    join_sweeps,
    replacement_entry,
    set_tags,
    sweep_tags,
)
from lenet_exp.tracking.stores.store import Store

MAX_RUNS = 100  # maximum number of MLflow runs to query for one run folder


def open_run(
    folder: RunFolder, begun: Record, store: Store, *, parent: str | None, user: str | None
) -> DeliveredRun:
    """Return the entry of a run's MLflow run, which is created if necessary.

    Args:
        folder: folder of the run.
        begun: record from the start of the run.
        store: store to which the run is uploaded.
        parent: MLflow run ID of the sweep that contains the run; None for a single run.
        user: user to add to the list of users; None if there is no such user.
    """
    entry = _entry_of_attempt(folder, begun, store)
    if entry is None or not alive(store, entry.run_id):  # the run or the database was deleted
        entry = _find_or_create(folder, begun, store, parent=parent, deleted=entry)
        store.seen.add(entry.run_id)
        folder.set_delivered(entry)
    elif not entry.begun:
        entry = _restored(entry, begun, store)

    if not entry.begun:
        close_abandoned(folder, entry, store)
    close_former(entry, store)

    if parent is not None and parent not in entry.sweeps:
        entry = replace(entry, sweeps=[*_alive_sweeps(entry, store), parent])
        join_sweeps(store, entry.run_id, entry.sweeps)
        folder.set_delivered(entry)
    if user is not None and user not in entry.users:
        add_user(store, entry.run_id, user)
        entry = replace(entry, users=[*entry.users, user])
        folder.set_delivered(entry)
    return entry


def _entry_of_attempt(folder: RunFolder, begun: Record, store: Store) -> DeliveredRun | None:
    """Return the store's entry if it is about the current attempt at the run; otherwise, None."""
    entry = folder.delivered().run_in(store.name)
    if entry is None or entry.created_ms == begun.created_ms:
        return entry
    if entry.created_ms != 0:
        return None

    # Release 0.3 did not store the start time of the attempt, but it set this tag.
    if alive(store, entry.run_id):
        start_time = str(begun.created_ms)
        tags = store.client.get_run(entry.run_id).data.tags
        if tags.get("created_ms", start_time) != start_time:
            return None
    return replace(entry, created_ms=begun.created_ms)


def _find_or_create(
    folder: RunFolder,
    begun: Record,
    store: Store,
    *,
    parent: str | None,
    deleted: DeliveredRun | None,
) -> DeliveredRun:
    """Return an entry for an MLflow run of a run folder.

    An MLflow run that was already created for the run folder is used; otherwise, one is created.

    Args:
        folder: folder of the run.
        begun: record from the start of the run.
        store: store to which the run is uploaded.
        parent: MLflow run ID of the sweep that contains the run; None for a single run.
        deleted: entry of the MLflow run that was deleted; None if there is none.
    """
    former = deleted if deleted is not None else _former_attempt(folder, store)
    run_ids = _find_runs(folder, begun, store)
    if run_ids:
        entry = replacement_entry(former, store.name, run_ids, begun.created_ms)
        return _restored(entry, begun, store)

    sweeps = [] if former is None else _alive_sweeps(former, store)
    if parent is not None and parent not in sweeps:
        sweeps.append(parent)
    run_id = _create_run(folder, begun, store, sweeps)
    entry = replacement_entry(former, store.name, [run_id], begun.created_ms)
    users = [begun.user] if begun.user else []
    return replace(entry, sweeps=sweeps, users=users)


def _restored(entry: DeliveredRun, begun: Record, store: Store) -> DeliveredRun:
    """Add the sweeps and users to an MLflow run that may lack them.

    Returns:
        Its entry without deleted sweeps.
    """
    for name in entry.users:
        if name != begun.user:
            add_user(store, entry.run_id, name)

    sweeps = _alive_sweeps(entry, store)
    if sweeps:
        join_sweeps(store, entry.run_id, sweeps)
    return replace(entry, sweeps=sweeps)


def _former_attempt(folder: RunFolder, store: Store) -> DeliveredRun | None:
    """Return the store's entry about an earlier attempt, as a base for the current attempt's."""
    entry = folder.delivered().run_in(store.name)
    if entry is None:
        return None
    abandoned = [*entry.abandoned, entry.run_id]
    return DeliveredRun(entry.store, run_id="", former=entry.former, abandoned=abandoned)


def _alive_sweeps(entry: DeliveredRun, store: Store) -> list[str]:
    """Return the sweeps of an MLflow run without those whose own MLflow run was deleted."""
    return [sweep for sweep in entry.sweeps if alive(store, sweep)]


def _find_runs(folder: RunFolder, begun: Record, store: Store) -> list[str]:
    """Return the IDs of MLflow runs that were already created for a run folder.

    Such an MLflow run exists if the process crashed before it stored the ID, or if the store's
    response arrived too late.
    """
    query = f"tags.run_folder = '{folder.id}' and tags.created_ms = '{begun.created_ms}'"
    runs = store.client.search_runs([store.experiment_id], query, max_results=MAX_RUNS)
    run_ids = [str(run.info.run_id) for run in runs]

    # The first run will be used, although another one, which was deleted, had replaced it.
    if runs and runs[0].data.tags.get("kind") == REPLACED:
        set_tags(store, run_ids[0], {"kind": "run"})
    return run_ids


def _create_run(folder: RunFolder, begun: Record, store: Store, sweeps: list[str]) -> str:
    """Create an MLflow run for a run folder, and return its ID."""
    own: dict[str, Json] = {
        "kind": "run",
        "fingerprint": begun.fingerprint,
        "run_folder": folder.id,
        "created_ms": begun.created_ms,
        "host": begun.host,
    }
    if sweeps:
        own |= sweep_tags(sweeps)

    user_tags = begun.config.tracking.tags
    origin = Origin(begun.command, begun.versions, begun.git, [begun.user])
    return create_run(store, begun.name, begun.created_ms, own=own, users=user_tags, origin=origin)
