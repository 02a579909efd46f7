"""The champion of a data set: the registered model with the best validation accuracy, and a version only for it."""

from __future__ import annotations

import fcntl
import math
from typing import TYPE_CHECKING

from lenet_exp.files import open_lock
from lenet_exp.folders.records import Record
from lenet_exp.tracking.shipped import log_shipped
from lenet_exp.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
RACE_SECONDS = 600  # versions that far apart were not registered by two who saw the same champion
MOST_VERSIONS = 1000


def registered_name(dataset: str) -> str:
    """`lenet5-mnist`."""
    return f"lenet5-{dataset}"


def crown(store: Store, record: Record, run_id: str, model_id: str) -> bool:
    """Registers the run's model and moves the alias, if it is better than the present champion.

    The first to beat is the model that the package ships for the data set, if there is one: it becomes version 1.
    Comparable are runs on the default split with the whole training set. One process of an outputs folder at a time
    decides; where others decide at the same moment elsewhere, the best of theirs and this one stays (`_settle`).

    Returns:
        Whether the run is the champion now.
    """
    config = record.config
    if config.split_seed != 0 or config.dataset.train_size is not None:
        return False
    name = registered_name(record.dataset)
    store.outputs.mkdir(parents=True, exist_ok=True)
    with open_lock(store.outputs / ".champion.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = champion(store, name)
        if present is None:
            _ensure_registered(store, name)
            shipped = log_shipped(store, record.dataset)
            if shipped is not None:
                present = _settle(store, name, _register(store, name, *shipped))
        if present is None or _better(present, record):
            present = _settle(store, name, _register(store, name, record, run_id, model_id))
        elif present.run_id == run_id:  # perhaps it died before it had settled
            present = _settle(store, name, present)
        return bool(present.run_id == run_id)


def is_owed(store: Store, record: Record, run_id: str) -> bool:
    """Whether a run that was delivered with its model should be registered and is not: the store has lost it."""
    if record.config.split_seed != 0 or record.config.dataset.train_size is not None:
        return False
    name = registered_name(record.dataset)
    present = champion(store, name)
    return (present is None or _better(present, record)) and _version_of(store, name, run_id) is None


def _version_of(store: Store, name: str, run_id: str) -> ModelVersion | None:
    found = store.client.search_model_versions(f"run_id = '{run_id}'")
    return next((version for version in found if version.name == name), None)


def _register(store: Store, name: str, record: Record, run_id: str, model_id: str) -> ModelVersion:
    """A new version, which becomes the champion; or the one whose answer, or alias, did not come through."""
    version = _version_of(store, name, run_id) or store.client.create_model_version(
        name,
        # not models:/<id>: MLflow would look that up in the process's global store
        source=store.client.get_logged_model(model_id).artifact_location,
        run_id=run_id,
        model_id=model_id,
        tags={
            "fingerprint": record.fingerprint,
            "best_val_accuracy": str(record.best_val_accuracy),
            "best_epoch": str(record.best_epoch),
            "validation_digest": record.data_digests["validation"],
            "run": run_id,
        },
    )
    store.client.set_registered_model_alias(name, ALIAS, version.version)
    return version


def _settle(store: Store, name: str, mine: ModelVersion) -> ModelVersion:
    """The champion, once it is no worse than what others registered at the same time.

    MLflow sets an alias whatever it was before, so of two who looked at the same champion the later one wins. Each
    looks again after it: whoever comes last sees both versions, and leaves the alias on the better one. Versions from
    long before are left alone: somebody may have moved the alias away from them.
    """
    while True:
        versions = store.client.search_model_versions(f"name = '{name}'", max_results=MOST_VERSIONS)
        rivals = [v for v in versions if _made_with(v, mine) and _same_images(v, mine)]
        best = max([*rivals, mine], key=lambda v: (_accuracy(v), -int(v.version)))
        present = champion(store, name)
        if present is not None and (not _made_with(present, mine) or _accuracy(present) >= _accuracy(best)):
            return present
        store.client.set_registered_model_alias(name, ALIAS, best.version)


def _made_with(version: ModelVersion, mine: ModelVersion) -> bool:
    return bool(abs(version.creation_timestamp - mine.creation_timestamp) <= 1000 * RACE_SECONDS)


def _same_images(version: ModelVersion, mine: ModelVersion) -> bool:
    return bool(version.tags.get("validation_digest") == mine.tags.get("validation_digest"))


def _accuracy(version: ModelVersion) -> float:
    """Minus infinity of a version that somebody else registered."""
    try:
        return float(version.tags["best_val_accuracy"])
    except (KeyError, ValueError):
        return -math.inf


def champion(store: Store, name: str) -> ModelVersion | None:
    """The present champion's version, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as e:
        if e.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def _better(present: ModelVersion, record: Record) -> bool:
    """Whether a record beats the champion on the same validation images."""
    same_images = present.tags.get("validation_digest") == record.data_digests["validation"]
    return same_images and (record.best_val_accuracy or 0.0) > _accuracy(present)


def _ensure_registered(store: Store, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name)
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
