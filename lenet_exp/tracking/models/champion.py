"""The champion for a dataset: the registered model with the best validation accuracy, under the
alias `champion`.

MLflow cannot update an alias atomically: if two processes try to replace the same champion, the
later update wins. Therefore, a process that registers a model version sets the alias to the best
version, reads the alias, and repeats both steps until the champion is at least as good as every
version. Then the process adds the tag `settled` to its version. If the process is killed before it
adds the tag, the next upload of its run repeats the procedure.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenet_exp.config.metric import Metric, definition
from lenet_exp.config.params import params
from lenet_exp.errors import UserError
from lenet_exp.files import open_lock
from lenet_exp.folders.records import Record
from lenet_exp.tracking.models.exporter import Export, export_model
from lenet_exp.tracking.models.logged import download_record
from lenet_exp.tracking.models.model import registered_name
from lenet_exp.tracking.models.shipped import log_shipped, shipped_record
from lenet_exp.tracking.stores.store import Store, ignored, retry_until_granted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
SETTLED, FIRST = "settled", "first"  # tags of versions, and of the registered model
METRIC = "metric"  # tag of versions: definition of the metric; see `definition`
SCORE = "score"  # tag of versions with another metric than accuracy; see `_score`
# MLflow's error codes for an unknown model or alias; a server with user accounts may deny access
# instead.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}
MOST = 10_000  # maximum number of versions to query; each champion so far has a version
MOST_RIVALS, BEST_FIRST = 20, "metrics.best_val_accuracy DESC"  # of the query for better runs
TRY_SECONDS = 2.0  # time during which to retry if another process is writing at the same time

log = logging.getLogger("lenet_exp")


def register_if_best(
    store: Store, record: Record, run_id: str, model_id: str, *, export: Export = export_model
) -> bool:
    """Make a run's model the champion, if the model is better than the current champion.

    The first champion to beat is the model that is bundled with the package for the dataset, if
    such a model exists. Only models from runs that use the default split and the full training set,
    and start from random weights, can become the champion. If this user is not allowed to write to
    the registered model, a single warning is logged. Repeated calls change nothing.

    Args:
        record: the run's record.
        run_id: ID of the MLflow run.
        model_id: ID of the run's logged model.
        export: function that exports the bundled model, if it must be uploaded.

    Returns:
        Whether the run's model is the champion now.
    """
    from mlflow.exceptions import MlflowException

    name = registered_name(record.dataset, record.config)
    if not _is_comparable(record) or name in store.denied:
        return False
    store.outputs.mkdir(parents=True, exist_ok=True)
    with open_lock(store.outputs / ".champion.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        while True:
            try:
                return retry_until_granted(
                    lambda: _register_if_best(
                        store, name, record, run_id, model_id=model_id, export=export
                    )
                )
            except MlflowException as e:
                if e.error_code == "PERMISSION_DENIED":
                    break
                if time.monotonic() > started + TRY_SECONDS:
                    raise
            time.sleep(0.1)
    store.denied.add(name)
    log.warning("%s: permission denied by MLflow; the champion was not changed", name)
    return False


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the version of a registered model that is the current champion, or None if there is no
    champion.
    """
    with ignored(*ABSENT):
        return client.get_model_version_by_alias(name, ALIAS)
    return None


def passed_over(client: MlflowClient, name: str, run_id: str | None = None) -> str:
    """Return a line about a run that reached a better accuracy than the champion, but cannot be
    compared with it, and how to make it the champion; empty if there is no such run.

    Args:
        name: registered name of the champion.
        run_id: ID of the only run to consider; None for the best run of the champion's experiment.
    """
    if (version := champion(client, name)) is None or SCORE in version.tags:
        return ""
    its, found = client.get_run(str(version.run_id)), []
    if run_id is not None:
        found = [client.get_run(run_id)]
    elif {"dataset", "model"} <= its.data.params.keys():
        params = " and ".join(
            f'params.{flag} = "{its.data.params[flag]}"' for flag in ("dataset", "model")
        )
        query = f"{params} and tags.outcome = 'finished' and metrics.best_val_accuracy > {_score(version)}"
        with ignored("INVALID_PARAMETER_VALUE"):  # the name of the model contains a quotation mark
            found = client.search_runs(
                [its.info.experiment_id], query, max_results=MOST_RIVALS, order_by=[BEST_FIRST]
            )
    neutral = {"model._target_": None, "metric": Metric.name}.items()
    found = [
        run
        for run in found
        if all(run.data.params.get(k, n) == its.data.params.get(k, n) for k, n in neutral)
    ]
    best = next((run for run in found if run.outputs and run.outputs.model_outputs), None)
    accuracy = best.data.metrics.get("best_val_accuracy", 0.0) if best is not None else 0.0
    if best is None or accuracy <= _score(version):
        return ""
    why = (
        "from given weights"
        if "init_from" in best.data.params
        else "with other training or validation images"
    )
    return (
        f"{name}: run {best.info.run_id} reached {accuracy:.2%} {why}, so it cannot be compared with the champion "
        f"({_score(version):.2%}, run {version.run_id}). To make it the champion, run: "
        f"lenet-sync champion={best.info.run_id}"
    )


def make_champion(store: Store, run_id: str) -> str:
    """Make the model of an MLflow run the champion, even if another one is better, and return its
    registered name.

    Raises:
        UserError: the run has no model.
        ValueError: the run's record cannot be read.
    """
    (record, _), outputs = (
        download_record(store.client, run_id),
        store.client.get_run(run_id).outputs,
    )
    if not (outputs and outputs.model_outputs):
        raise UserError(f"champion={run_id}: the run has no model in MLflow; see tracking.models")
    name = registered_name(record.dataset, record.config)
    _make_model(store, name, run_id)
    model_id = outputs.model_outputs[0].model_id
    version = _version_of(_versions(store, name), run_id, record) or _register(
        store, name, record, run_id, model_id=model_id
    )
    store.client.set_model_version_tag(name, version.version, SETTLED, "true")
    store.client.set_registered_model_alias(name, ALIAS, version.version)
    return name


def _register_if_best(
    store: Store, name: str, record: Record, run_id: str, *, model_id: str, export: Export
) -> bool:
    present, versions = champion(store.client, name), _versions(store, name)
    mine = _version_of(versions, run_id, record)
    if mine is None:
        if not _beats(record, present):
            return False
        shipped = (
            shipped_record(record.dataset) if name == registered_name(record.dataset) else None
        )
        is_first = _make_model(store, name, run_id)
        known = {version.tags.get("fingerprint") for version in versions}
        if shipped is not None and is_first and shipped.fingerprint not in known:
            present = _settle(
                store, name, _register(store, name, *log_shipped(store, shipped, export))
            )
            if not _beats(record, present):
                return False
        mine = _register(store, name, record, run_id, model_id=model_id)
    elif SETTLED in mine.tags and present is not None:
        return bool(present.run_id == run_id)
    return bool(_settle(store, name, mine).run_id == run_id)


def _make_model(store: Store, name: str, run_id: str) -> bool:
    """Create the registered model if it does not exist, and return whether it was created for this
    run.

    The run for which the registered model was created also registers the bundled model.
    """
    with ignored("RESOURCE_ALREADY_EXISTS"):
        store.client.create_registered_model(name, tags={FIRST: run_id})
        return True
    return bool(store.client.get_registered_model(name).tags.get(FIRST) == run_id)


def _register(store: Store, name: str, record: Record, run_id: str, model_id: str) -> ModelVersion:
    # A source models:/<id> is not used, because MLflow would look it up in the process's global
    # store.
    source = store.client.get_logged_model(model_id).artifact_location
    tags = {
        "fingerprint": record.fingerprint,
        "best_val_accuracy": str(record.best_val_accuracy),
        "best_epoch": str(record.best_epoch),
        "validation_digest": record.data_digests["validation"],
        "run": run_id,
        METRIC: definition(params(record.config)),
    }
    if not (metric := record.metric).is_accuracy:
        tags[SCORE] = str(metric.sign * (record.value or 0.0))
    return store.client.create_model_version(
        name, source=source, run_id=run_id, model_id=model_id, tags=tags
    )


def _settle(store: Store, name: str, mine: ModelVersion) -> ModelVersion:
    """Set the alias to the best version, and return the champion.

    The alias is set repeatedly until the champion is at least as good as every version with the
    same validation images.
    """
    while True:
        versions = _versions(store, name)
        rivals = [version for version in versions if _measured(version) == _measured(mine)]
        best = max(rivals, key=lambda version: (_score(version), -int(version.version)))
        present = champion(store.client, name)
        if present is not None and (
            _measured(present) != _measured(mine) or _score(present) >= _score(best)
        ):
            store.client.set_model_version_tag(name, mine.version, SETTLED, "true")
            return present
        store.client.set_registered_model_alias(name, ALIAS, best.version)


def _versions(store: Store, name: str) -> Sequence[ModelVersion]:
    return store.client.search_model_versions(f"name = '{name}'", max_results=MOST)


def _version_of(
    versions: Sequence[ModelVersion], run_id: str, record: Record
) -> ModelVersion | None:
    """Return the version that is registered for a run's result, or None if no version is
    registered.

    A version may have been registered by an earlier request whose response was lost.
    """
    accuracy = str(record.best_val_accuracy)
    own = (
        v for v in versions if v.run_id == run_id and v.tags.get("best_val_accuracy") == accuracy
    )
    return next(own, None)


def _is_comparable(record: Record) -> bool:
    config = (
        record.config
    )  # given weights may come from a run that was trained on some of the validation images
    return config.split_seed == 0 and config.dataset.train_size is None and config.init_from is None


def _measured(version: ModelVersion) -> tuple[str | None, str]:
    """Return what must be equal in comparable versions: the digest of the validation images, and
    the metric.
    """
    return version.tags.get("validation_digest"), version.tags.get(METRIC, definition({}))


def _score(version: ModelVersion) -> float:
    """Return a version's metric, negative if smaller is better; minus infinity if another program
    registered it.
    """
    return float(version.tags.get(SCORE, version.tags.get("best_val_accuracy", "-inf")))


def _beats(record: Record, present: ModelVersion | None) -> bool:
    """Return whether a run beats the champion on the same images by the same metric; true if there
    is no champion.
    """
    if present is None:
        return True
    comparable = _measured(present) == (
        record.data_digests["validation"],
        definition(params(record.config)),
    )
    return comparable and record.metric.sign * (record.value or 0.0) > _score(present)
