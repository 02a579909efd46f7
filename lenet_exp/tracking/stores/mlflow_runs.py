"""Looks up MLflow runs, sets their tags, and ends runs that a run folder no longer uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lenet_exp.config.tags import merged
from lenet_exp.files import Json
from lenet_exp.folders.delivered import DeliveredRun
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.machine import user
from lenet_exp.tracking.stores.batch import strings
from lenet_exp.tracking.stores.store import Store, ignored, runs_by_id

USERS = "users"  # tag with the names of all users of a run or sweep, separated by commas
WITHIN = "sweep_within"  # tag of a sweep with `sweep.within`: the difference that does not matter
REPLACED = "replaced"  # value of the tag `kind` for a run that was replaced by another run


def alive(store: Store, run_id: str) -> bool:
    """Return whether a run exists in the store and is not deleted.

    A run that has been found is not looked up again.
    """
    if run_id in store.seen:
        return True
    if _is_active(store, run_id):
        store.seen.add(run_id)
        return True
    return False


def find_alive(folders: Iterable[RunFolder], store: Store) -> None:
    """Look up the MLflow runs of folders together, so that `alive` does not request each one."""
    unseen: list[str] = []
    for folder in folders:
        entry = folder.delivered().run_in(store.name)
        if entry is not None and entry.run_id not in store.seen:
            unseen.append(entry.run_id)
    store.seen.update(runs_by_id(store.client, [store.experiment_id], unseen))


def _is_active(store: Store, run_id: str) -> bool:
    # A server with user accounts does not report whether a run is missing or only hidden from this
    # user.
    with ignored("RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):
        return bool(store.client.get_run(run_id).info.lifecycle_stage == "active")
    return False


def close_abandoned(folder: RunFolder, entry: DeliveredRun, store: Store) -> None:
    """End the MLflow runs of earlier attempts to train a run, which would remain RUNNING forever.

    Args:
        entry: the store's entry for the current attempt.
    """
    by_release_0_3 = [run.run_id for run in folder.abandoned() if run.store == store.name]
    for run_id in dict.fromkeys([*by_release_0_3, *entry.abandoned]):
        if not alive(store, run_id):
            continue
        if store.client.get_run(run_id).info.status == "RUNNING":
            set_tags(store, run_id, {"outcome": Outcome.killed})
            store.client.set_terminated(run_id, "KILLED")


def replacement_entry(
    lost: DeliveredRun | None, store: str, run_ids: Sequence[str], created_ms: int
) -> DeliveredRun:
    """Return the entry for a run folder's new MLflow run.

    Args:
        lost: entry that the new one replaces, because its MLflow run was deleted or it is about an
            earlier attempt; None if there is none. The new run joins the same sweeps.
        store: name of the store.
        run_ids: ID of the new MLflow run, and those of other MLflow runs for this folder in the
            store.
        created_ms: start time of the attempt at the run.
    """
    run_id = run_ids[0]
    if lost is None:
        former = list(run_ids[1:])
        return DeliveredRun(store, run_id, created_ms=created_ms, former=former, begun=False)

    candidates = [*run_ids[1:], *lost.former, lost.run_id]
    former = [other for other in dict.fromkeys(candidates) if other not in (run_id, "")]
    return DeliveredRun(
        store,
        run_id,
        created_ms=created_ms,
        sweeps=lost.sweeps,
        former=former,
        begun=False,
        abandoned=lost.abandoned,
    )


def sweep_tags(sweeps: Sequence[str]) -> dict[str, Json]:
    """Return the tags of a run that is part of sweeps. MLflow nests the run under the first sweep.

    Args:
        sweeps: MLflow run IDs of the sweeps.
    """
    return {"sweeps": ",".join(sweeps), "mlflow.parentRunId": sweeps[0]}


def join_sweeps(store: Store, run_id: str, sweeps: list[str]) -> None:
    """Tag an MLflow run with the sweeps that contain it."""
    set_tags(store, run_id, sweep_tags(sweeps))


def add_user(store: Store, run_id: str, name: str) -> None:
    """Add a user to the list of users of an MLflow run, unless the list contains the user."""
    tags = store.client.get_run(run_id).data.tags
    # Older releases recorded only the first user, in MLflow's own tag.
    users = tags.get(USERS, tags.get("mlflow.user", "")).split(",")
    if USERS in tags and name in users:
        return

    distinct_users = dict.fromkeys([*users, name])
    names = [user_name for user_name in distinct_users if user_name]
    set_tags(store, run_id, {USERS: ",".join(names)})


def close_former(entry: DeliveredRun, store: Store) -> None:
    """Mark former MLflow runs of a folder as replaced and end them, if a user restored them."""
    for run_id in entry.former:
        if not _is_active(store, run_id):
            continue

        run = store.client.get_run(run_id)
        if run.data.tags.get("kind") != REPLACED:
            set_tags(store, run_id, {"kind": REPLACED, "replaced_by": entry.run_id})
        if run.info.status == "RUNNING":
            store.client.set_terminated(run_id, "KILLED")


def set_tags(
    store: Store, run_id: str, tags: Mapping[str, Json], users: Mapping[str, Json] | None = None
) -> None:
    """Set tags of an MLflow run, including a user's tags; see `merged`."""
    from mlflow.entities import RunTag

    values = strings(merged(tags, users or {}))
    store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in values.items()])


@dataclass(frozen=True)
class Origin:
    """The origin of a run or sweep.

    Attributes:
        command: command that started it.
        versions: versions of libraries.
        git: tags for the git commit.
        users: users who started it, who can be unknown.
    """

    command: str
    versions: Mapping[str, str]
    git: Mapping[str, str]
    users: Sequence[str]


def create_run(
    store: Store,
    name: str,
    created_ms: int,
    *,
    own: Mapping[str, Json],
    users: Mapping[str, Json],
    origin: Origin,
) -> str:
    """Create an MLflow run, and return its ID.

    Args:
        store: store in which to create the run.
        name: name of the run in MLflow.
        created_ms: start time of the run, in milliseconds since 1970.
        own: tags that lenet_exp sets.
        users: tags that the user set.
        origin: origin of the run, which becomes tags, too.
    """
    tags = strings(merged({**own, **_origin_tags(origin), **origin.git}, users))
    run = store.client.create_run(store.experiment_id, created_ms, tags, run_name=name)
    return str(run.info.run_id)


def _origin_tags(origin: Origin) -> dict[str, str]:
    """Return the tags for the origin of a run, except for those about the git commit."""
    tags = {
        "mlflow.source.name": _program(origin.command),
        "mlflow.source.type": "LOCAL",
        "command": origin.command,
    }
    names = [name for name in origin.users if name]
    if not names:
        names = [user()]
    tags["mlflow.user"] = names[0]
    tags[USERS] = ",".join(names)
    for library, version in origin.versions.items():
        tags[f"version.{library}"] = version
    return tags


def _program(command: str) -> str:
    """Return the name of the program in a command, for the Source column in MLflow.

    The tag `command` contains the full command.
    """
    words = command.split()
    if words[:2] == ["python", "-m"]:
        return words[2].replace("lenet_exp.", "lenet-")

    # An interactive session is recorded as `''`, and a record can lack the command.
    program = words[0].strip("'") if words else ""
    return program or "python"
