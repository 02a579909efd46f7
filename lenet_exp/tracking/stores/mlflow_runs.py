"""MLflow's runs: whether they are there, their tags, and those that a run folder has given up."""

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

SHOWN = "sweep_shown"  # the tag of a sweep's run that says which description it has
LIVE = "live"  # its value while the sweep runs
REPLACED = "replaced"  # the tag `kind` of a run that another one stands for


def alive(store: Store, run_id: str) -> bool:
    """Whether the store has the run; asked once a process and run."""
    if run_id not in store.seen and _is_active(store, run_id):
        store.seen.add(run_id)
    return run_id in store.seen


def _is_active(store: Store, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(store.client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as e:
        # A server with users tells nobody whether there is no such run, or none that one may see.
        if e.error_code in {"RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"}:
            return False
        raise


def close_abandoned(folder: RunFolder, store: Store) -> None:
    """MLflow runs of earlier tries of this run would stay RUNNING for ever."""
    for entry in folder.abandoned():
        if entry.store != store.name or not alive(store, entry.run_id):
            continue
        if store.client.get_run(entry.run_id).info.status == "RUNNING":
            set_tags(store, entry.run_id, {"outcome": Outcome.killed})
            store.client.set_terminated(entry.run_id, "KILLED")


def replacement_entry(lost: DeliveredRun | None, store: str, run_id: str, surplus: list[str]) -> DeliveredRun:
    """The new run of a folder.

    Args:
        lost: the one before, which somebody deleted: the new one is in the same sweeps, and remembers that one, which
            may be restored.
        surplus: other runs that the store has of this folder.
    """
    if lost is None:
        return DeliveredRun(store, run_id, former=surplus, begun=False)
    former = [run for run in dict.fromkeys([*surplus, *lost.former, lost.run_id]) if run != run_id]
    return DeliveredRun(store, run_id, sweeps=lost.sweeps, former=former, begun=False)


def join_sweeps(store: Store, run_id: str, sweeps: list[str]) -> None:
    """A run belongs to each sweep that asked for it; MLflow nests it under the first."""
    set_tags(store, run_id, {"sweeps": ",".join(sweeps), "mlflow.parentRunId": sweeps[0]})


def close_former(entry: DeliveredRun, store: Store) -> None:
    """Mark the former MLflow run of a folder as replaced, and end it, if a person restored it after its deletion."""
    for run_id in entry.former:
        if not _is_active(store, run_id):
            continue
        run = store.client.get_run(run_id)
        if run.data.tags.get("kind") != REPLACED:
            set_tags(store, run_id, {"kind": REPLACED, "replaced_by": entry.run_id})
        if run.info.status == "RUNNING":
            store.client.set_terminated(run_id, "KILLED")


def shows_report(run: Run, digest: str) -> bool:
    """Whether a sweep's run has the description of this digest: a store that came back as an older backup may not.

    Those of older releases do not say.
    """
    return "mlflow.note.content" in run.data.tags and run.data.tags.get(SHOWN, digest) == digest


def set_tags(store: Store, run_id: str, tags: Mapping[str, Json]) -> None:
    """Tags of the program's own."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in strings(checked(tags)).items()])


def strings(tags: Mapping[str, Json]) -> dict[str, str]:
    """REST takes strings only; MLflow's SQL store would take anything, so the mistake would show late."""
    return {str(k): text(v) for k, v in tags.items()}


def program(command: str) -> str:
    """The command of a command line: MLflow shows it in a column, and the whole line stands in the tag `command`."""
    words = command.split()
    if words[:2] == ["python", "-m"]:
        return words[2].replace("lenet_exp.", "lenet-")
    return words[0].strip("'") or "python"  # an interactive one has no name


def user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user id on this machine, as in some containers
        return "unknown"
