"""MLflow runs: whether they exist, their tags, and runs that a run folder no longer uses."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lenet_exp.config.params import text
from lenet_exp.config.tags import checked
from lenet_exp.files import Json
from lenet_exp.folders.records import DeliveredRun, Outcome
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.stores.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

SHOWN = "sweep_shown"  # tag of a sweep's run: digest of its description
LIVE = "live"  # its value while the sweep is running
REPLACED = "replaced"  # the tag `kind` of a run that another run replaces


def alive(store: Store, run_id: str) -> bool:
    """Return whether the store has the run. Each run is looked up once per process."""
    if run_id not in store.seen and _is_active(store, run_id):
        store.seen.add(run_id)
    return run_id in store.seen


def _is_active(store: Store, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(store.client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as e:
        # A server with user accounts does not say whether a run is missing or not visible to this user.
        if e.error_code in {"RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"}:
            return False
        raise


def close_abandoned(folder: RunFolder, store: Store) -> None:
    """End MLflow runs from earlier attempts, which would otherwise stay RUNNING forever."""
    for entry in folder.abandoned():
        if entry.store != store.name or not alive(store, entry.run_id):
            continue
        if store.client.get_run(entry.run_id).info.status == "RUNNING":
            set_tags(store, entry.run_id, {"outcome": Outcome.killed})
            store.client.set_terminated(entry.run_id, "KILLED")


def replacement_entry(lost: DeliveredRun | None, store: str, run_id: str, surplus: list[str]) -> DeliveredRun:
    """Return the entry of a folder's new MLflow run.

    Args:
        lost: entry of the deleted run that the new one replaces. It may be restored; the new run joins the same sweeps.
        surplus: other runs of this folder in the store.
    """
    if lost is None:
        return DeliveredRun(store, run_id, former=surplus, begun=False)
    former = [run for run in dict.fromkeys([*surplus, *lost.former, lost.run_id]) if run != run_id]
    return DeliveredRun(store, run_id, sweeps=lost.sweeps, former=former, begun=False)


def join_sweeps(store: Store, run_id: str, sweeps: list[str]) -> None:
    """Tag a run with the sweeps that contain it; MLflow nests it under the first."""
    set_tags(store, run_id, {"sweeps": ",".join(sweeps), "mlflow.parentRunId": sweeps[0]})


def close_former(entry: DeliveredRun, store: Store) -> None:
    """Mark the former MLflow run of a folder as replaced and end it, if someone restored it after its deletion."""
    for run_id in entry.former:
        if not _is_active(store, run_id):
            continue
        run = store.client.get_run(run_id)
        if run.data.tags.get("kind") != REPLACED:
            set_tags(store, run_id, {"kind": REPLACED, "replaced_by": entry.run_id})
        if run.info.status == "RUNNING":
            store.client.set_terminated(run_id, "KILLED")


def shows_report(run: Run, digest: str) -> bool:
    """Return whether a sweep's run has the description with this digest. After a backup is restored, it might not.

    Runs from older releases have no digest and count as having the description.
    """
    return "mlflow.note.content" in run.data.tags and run.data.tags.get(SHOWN, digest) == digest


def set_tags(store: Store, run_id: str, tags: Mapping[str, Json]) -> None:
    """Set the program's own tags."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in strings(checked(tags)).items()])


def strings(tags: Mapping[str, Json]) -> dict[str, str]:
    """Convert values to strings. REST accepts only strings, but MLflow's SQL store accepts anything, so errors would
    show late."""
    return {str(k): text(v) for k, v in tags.items()}


def program(command: str) -> str:
    """Return the program in a command line, for a column in MLflow; the tag `command` has the full line."""
    words = command.split()
    if words[:2] == ["python", "-m"]:
        return words[2].replace("lenet_exp.", "lenet-")
    return words[0].strip("'") or "python"  # an interactive session has no name


def user() -> str:
    """Return the user's name; `unknown` if it cannot be determined."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user id on this machine, as in some containers
        return "unknown"
