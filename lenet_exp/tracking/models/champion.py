"""The champion of a data set: the registered model with the best validation accuracy, and a version only for it.

MLflow sets an alias whatever it was before, so of two outputs folders that looked at the same champion the later one
would win. Therefore nobody trusts one look. Each version names, in its tag `since`, the number up to which all versions
were decided when its owner looked. It is open until the owner has settled: it looks once more after its last word on
the alias, and finds there no worse than the best of all that were registered since. The store gives out the numbers of
versions, in order; no clock has a say. What a person decides about the alias while nothing is open stays.
"""

from __future__ import annotations

import fcntl
import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenet_exp.files import open_lock
from lenet_exp.folders.records import Record
from lenet_exp.tracking.models.shipped import log_shipped, shipped_record
from lenet_exp.tracking.stores.store import Store, granted

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

ALIAS = "champion"
SINCE, SETTLED, FIRST = "since", "settled", "first"  # tags: of versions, and of the registered model
# What MLflow answers where there is no such model or alias; a server with users says so of a model only to its users.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}
LOST_SECONDS = 86400  # what is open for so long has lost its owner: clocks may be apart, but not by a day
PAGE = 1000
TRIES = 5  # at what fails where another writes at the same moment

_denied: set[tuple[str, str]] = set()  # addresses, and models there that this process's user may not write
log = logging.getLogger("lenet_exp")


def registered_name(dataset: str) -> str:
    """`lenet5-mnist`."""
    return f"lenet5-{dataset}"


def crown(store: Store, record: Record, run_id: str, model_id: str) -> bool:
    """Registers the run's model and moves the alias, if it is better than the present champion. Idempotent.

    The first to beat is the model that the package ships for the data set, if there is one.
    Comparable are runs on the default split with the whole training set. One process of an outputs folder at a time
    decides; where others decide at the same moment elsewhere, the best of theirs and this one stays.

    Returns:
        Whether the run is the champion now. A model that this user may not write is told once, and is no error.
    """
    from mlflow.exceptions import MlflowException

    config = record.config
    if config.split_seed != 0 or config.dataset.train_size is not None:
        return False
    name = registered_name(record.dataset)
    store.outputs.mkdir(parents=True, exist_ok=True)
    with open_lock(store.outputs / ".champion.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if (store.uri, name) in _denied:
                return _crown(store, name, record, run_id, model_id)
            return granted(lambda: _crown(store, name, record, run_id, model_id))
        except MlflowException as e:
            if e.error_code != "PERMISSION_DENIED":
                raise
            if (store.uri, name) not in _denied:
                log.warning("%s: this user may not write it in MLflow; the champion stays as it is", name)
            _denied.add((store.uri, name))
            return False


def _crown(store: Store, name: str, record: Record, run_id: str, model_id: str) -> bool:
    # The versions first: one that is open then is a rival, and of one that is not the alias tells already.
    before = _versions(store, name)
    present = champion(store, name)
    mine = _version_of(before, run_id, record)
    if mine is None:
        if present is not None and not _better(present, record):
            return False
        shipped = shipped_record(record.dataset)
        if present is None or shipped is not None:
            model = _registered(store, name, run_id)
            if shipped is not None and _lacks(before, model, shipped, run_id):
                present = _settle(store, name, _register(store, name, before, *log_shipped(store, shipped)))
                before = _versions(store, name)
        if present is not None and not _better(present, record):
            return False
        mine = _register(store, name, before, record, run_id, model_id)
    elif SETTLED in mine.tags and present is not None:
        return bool(present.run_id == run_id)
    return bool(_settle(store, name, mine).run_id == run_id)


def is_owed(store: Store, record: Record, run_id: str) -> bool:
    """Whether a run that was delivered with its model should be registered and is not: the store has lost it."""
    if record.config.split_seed != 0 or record.config.dataset.train_size is not None:
        return False
    name = registered_name(record.dataset)
    present = champion(store, name)
    behind = present is None or _better(present, record)
    return behind and _version_of(_versions(store, name), run_id, record) is None


def _register(
    store: Store, name: str, before: Sequence[ModelVersion], record: Record, run_id: str, model_id: str
) -> ModelVersion:
    """A new version, open."""
    from mlflow.exceptions import MlflowException

    # not models:/<id>: MLflow would look that up in the process's global store
    source = store.client.get_logged_model(model_id).artifact_location
    tags = {
        "fingerprint": record.fingerprint,
        "best_val_accuracy": str(record.best_val_accuracy),
        "best_epoch": str(record.best_epoch),
        "validation_digest": record.data_digests["validation"],
        "run": run_id,
        SINCE: str(_since(before)),
    }
    for attempt in range(TRIES):
        try:
            return store.client.create_model_version(name, source=source, run_id=run_id, model_id=model_id, tags=tags)
        except MlflowException as e:  # MLflow itself tries three times to find a number that nobody takes meanwhile
            if "Giving up after" not in str(e) or attempt == TRIES - 1:
                raise
            time.sleep(0.1 * (attempt + 1))
    raise AssertionError("returned or raised before")


def _since(versions: Sequence[ModelVersion]) -> int:
    """Up to this number all versions were decided, so that the champion tells of them."""
    decided = max((int(v.version) for v in versions), default=0)
    lost = 1000 * (time.time() - LOST_SECONDS)
    for version in versions:
        if SINCE in version.tags and SETTLED not in version.tags and version.creation_timestamp > lost:
            decided = min(decided, int(version.version) - 1, _number(version))
    return decided


def _settle(store: Store, name: str, mine: ModelVersion) -> ModelVersion:
    """The champion, once it is no worse than this version and what others registered at the same time."""
    from mlflow.exceptions import MlflowException

    failed = 0
    while True:
        rivals = [v for v in _versions(store, name) if int(v.version) > _number(mine) and _same_images(v, mine)]
        best = max([*rivals, mine], key=lambda v: (_accuracy(v), -int(v.version)))
        present = champion(store, name)
        if present is not None and (not _same_images(present, mine) or _accuracy(present) >= _accuracy(best)):
            store.client.set_model_version_tag(name, mine.version, SETTLED, "true")
            return present
        try:
            store.client.set_registered_model_alias(name, ALIAS, best.version)
        except MlflowException:  # of two who set a new alias in a database at once one is refused
            failed += 1
            if failed == TRIES:
                raise


def _number(version: ModelVersion) -> int:
    """Its tag `since`; all before itself where somebody else has written there."""
    since = version.tags.get(SINCE, "")
    return int(since) if since.isdecimal() else int(version.version) - 1


def _versions(store: Store, name: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    token = None
    while True:
        page = store.client.search_model_versions(
            f"name = '{name}'", max_results=PAGE, order_by=["version_number ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _version_of(versions: Sequence[ModelVersion], run_id: str, record: Record) -> ModelVersion | None:
    """The one that was registered for this result, perhaps by a try whose answer never came."""
    accuracy = str(record.best_val_accuracy)
    own = (v for v in versions if v.run_id == run_id and v.tags.get("best_val_accuracy") == accuracy)
    return next(own, None)


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
        if e.error_code in ABSENT:
            return None
        raise


def _better(present: ModelVersion, record: Record) -> bool:
    """Whether a record beats the champion on the same validation images."""
    same_images = present.tags.get("validation_digest") == record.data_digests["validation"]
    return same_images and (record.best_val_accuracy or 0.0) > _accuracy(present)


def _registered(store: Store, name: str, run_id: str) -> RegisteredModel:
    """The registered model, which names the run for which it was made."""
    from mlflow.exceptions import MlflowException

    try:
        return store.client.create_registered_model(name, tags={FIRST: run_id})
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return store.client.get_registered_model(name)


def _lacks(versions: Sequence[ModelVersion], model: RegisteredModel, shipped: Record, run_id: str) -> bool:
    """Whether it is up to this run to register the shipped model: only one of those that come first does so."""
    if any(version.tags.get("fingerprint") == shipped.fingerprint for version in versions):
        return False
    first = model.tags.get(FIRST, run_id)
    return bool(first == run_id or model.creation_timestamp < 1000 * (time.time() - LOST_SECONDS))
