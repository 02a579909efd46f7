"""The champion for a dataset: the registered model with the best validation accuracy.

It has the alias `champion`. MLflow cannot update an alias atomically: if two processes try to
replace the same champion, the later update wins. Therefore, a process that registers a model
version sets the alias to the best version, reads the alias, and repeats both steps until the
champion is at least as good as every version. Then the process adds the tag `settled` to its
version. If the process is killed before it adds the tag, the next upload of its run repeats the
procedure.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Sequence
from functools import partial
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
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
SETTLED = "settled"  # tag of versions: the alias points to the best version
FIRST = "first"  # tag of the registered model: MLflow run for which it was created
METRIC = "metric"  # tag of versions: definition of the metric; see `definition`
SCORE = "score"  # tag of versions with another metric than accuracy; see `_score_of_version`
# MLflow's error codes for an unknown model or alias; a server with user accounts may deny access
# instead.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}
MOST = 10_000  # maximum number of versions to query; each champion so far has a version
MOST_RIVALS = 20  # maximum number of better runs to query
BEST_FIRST = "metrics.best_val_accuracy DESC"  # their order
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
    if not _can_become_champion(record) or name in store.denied:
        return False

    register = partial(
        _register_if_best, store, name, record, run_id, model_id=model_id, export=export
    )
    store.outputs.mkdir(parents=True, exist_ok=True)
    with open_lock(store.outputs / ".champion.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        while True:
            try:
                return retry_until_granted(register)
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
    """Return the version of a registered model that is the champion; None if there is none."""
    with ignored(*ABSENT):
        return client.get_model_version_by_alias(name, ALIAS)
    return None


def passed_over(client: MlflowClient, name: str, run_id: str | None = None) -> str:
    """Return a line about a run that is better than the champion but not comparable with it.

    The line says how to make the run the champion. It is empty if there is no such run.

    Args:
        client: client of the MLflow store.
        name: registered name of the champion.
        run_id: ID of the only run to consider; None for the best run of the champion's experiment.
    """
    version = champion(client, name)
    if version is None or SCORE in version.tags:
        return ""

    champion_run = client.get_run(str(version.run_id))
    if run_id is None:
        candidates = _more_accurate_runs(client, version, champion_run)
    else:
        candidates = [client.get_run(run_id)]

    best = _first_rival(candidates, champion_run)
    if best is None:
        return ""

    accuracy = best.data.metrics.get("best_val_accuracy", 0.0)
    champion_accuracy = _score_of_version(version)
    if accuracy <= champion_accuracy:
        return ""

    if "init_from" in best.data.params:
        why = "from given weights"
    else:
        why = "with other training or validation images"
    return (
        f"{name}: run {best.info.run_id} reached {accuracy:.2%} {why}, "
        "so it cannot be compared with the champion "
        f"({champion_accuracy:.2%}, run {version.run_id}). To make it the champion, run: "
        f"lenet-sync champion={best.info.run_id}"
    )


def _more_accurate_runs(
    client: MlflowClient, version: ModelVersion, champion_run: Run
) -> Sequence[Run]:
    """Return runs with the champion's dataset and model that are more accurate, best first."""
    params = champion_run.data.params
    if not {"dataset", "model"} <= params.keys():
        return []

    query = (
        f'params.dataset = "{params["dataset"]}" and params.model = "{params["model"]}" '
        "and tags.outcome = 'finished' "
        f"and metrics.best_val_accuracy > {_score_of_version(version)}"
    )
    experiments = [champion_run.info.experiment_id]
    with ignored("INVALID_PARAMETER_VALUE"):  # the name of the model contains a quotation mark
        return client.search_runs(
            experiments, query, max_results=MOST_RIVALS, order_by=[BEST_FIRST]
        )
    return []


def _first_rival(candidates: Sequence[Run], champion_run: Run) -> Run | None:
    """Return the first run with a model whose network and metric are the champion's."""
    for run in candidates:
        has_model = bool(run.outputs and run.outputs.model_outputs)
        if has_model and _network_and_metric(run) == _network_and_metric(champion_run):
            return run
    return None


def _network_and_metric(run: Run) -> tuple[str | None, str]:
    params = run.data.params
    return params.get("model._target_"), params.get("metric", Metric.name)


def make_champion(store: Store, run_id: str) -> str:
    """Make the model of an MLflow run the champion, even if another one is better.

    Returns:
        The registered name of the model.

    Raises:
        UserError: the run has no model.
        ValueError: the run's record cannot be read.
    """
    record, _ = download_record(store.client, run_id)
    outputs = store.client.get_run(run_id).outputs
    if not (outputs and outputs.model_outputs):
        raise UserError(f"champion={run_id}: the run has no model in MLflow; see tracking.models")

    name = registered_name(record.dataset, record.config)
    _make_model(store, name, run_id)
    version = _version_of(_versions(store, name), run_id, record)
    if version is None:
        model_id = outputs.model_outputs[0].model_id
        version = _register(store, name, record, run_id, model_id=model_id)

    store.client.set_model_version_tag(name, version.version, SETTLED, "true")
    store.client.set_registered_model_alias(name, ALIAS, version.version)
    return name


def _register_if_best(
    store: Store, name: str, record: Record, run_id: str, *, model_id: str, export: Export
) -> bool:
    current = champion(store.client, name)
    versions = _versions(store, name)
    own_version = _version_of(versions, run_id, record)

    if own_version is None:
        if not _beats(record, current):
            return False

        # The bundled models are LeNet-5 networks that were selected by accuracy.
        is_bundled_name = name == registered_name(record.dataset)
        shipped = shipped_record(record.dataset) if is_bundled_name else None
        is_first = _make_model(store, name, run_id)
        if shipped is not None and is_first and not _is_registered(shipped, versions):
            shipped, shipped_run, shipped_model = log_shipped(store, shipped, export)
            shipped_version = _register(store, name, shipped, shipped_run, model_id=shipped_model)
            current = _settle(store, name, shipped_version)
            if not _beats(record, current):
                return False

        own_version = _register(store, name, record, run_id, model_id=model_id)

    elif SETTLED in own_version.tags and current is not None:
        return bool(current.run_id == run_id)

    return bool(_settle(store, name, own_version).run_id == run_id)


def _is_registered(record: Record, versions: Sequence[ModelVersion]) -> bool:
    return record.fingerprint in {version.tags.get("fingerprint") for version in versions}


def _make_model(store: Store, name: str, run_id: str) -> bool:
    """Create the registered model if it does not exist.

    Returns:
        Whether the model was created for this run, which then also registers the bundled model.
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
    if not record.metric.is_accuracy:
        tags[SCORE] = str(_score_of_run(record))
    return store.client.create_model_version(
        name, source=source, run_id=run_id, model_id=model_id, tags=tags
    )


def _settle(store: Store, name: str, own_version: ModelVersion) -> ModelVersion:
    """Set the alias to the best version, and return the champion.

    The alias is set repeatedly until the champion is at least as good as every version with the
    same validation images. A champion with other validation images stays. Of equal versions, the
    first is the best.
    """
    basis = _basis_of_version(own_version)
    while True:
        versions = _versions(store, name)
        rivals = [version for version in versions if _basis_of_version(version) == basis]
        best = max(rivals, key=_score_and_age)
        current = champion(store.client, name)

        if current is not None and _may_stay(current, best):
            # Another upload of the same run then reads the alias and does not compare again.
            store.client.set_model_version_tag(name, own_version.version, SETTLED, "true")
            return current
        # Then check again: a process beside this one may have registered a better version.
        store.client.set_registered_model_alias(name, ALIAS, best.version)


def _score_and_age(version: ModelVersion) -> tuple[float, int]:
    return _score_of_version(version), -int(version.version)


def _may_stay(current: ModelVersion, best: ModelVersion) -> bool:
    """Return whether the champion is at least as good as another version, or not comparable."""
    if _basis_of_version(current) != _basis_of_version(best):
        return True
    return _score_of_version(current) >= _score_of_version(best)


def _versions(store: Store, name: str) -> Sequence[ModelVersion]:
    return store.client.search_model_versions(f"name = '{name}'", max_results=MOST)


def _version_of(
    versions: Sequence[ModelVersion], run_id: str, record: Record
) -> ModelVersion | None:
    """Return the version that is registered for a run's result; None if there is none.

    A version may have been registered by an earlier request whose response was lost.
    """
    accuracy = str(record.best_val_accuracy)
    for version in versions:
        if version.run_id == run_id and version.tags.get("best_val_accuracy") == accuracy:
            return version
    return None


def _can_become_champion(record: Record) -> bool:
    config = record.config
    has_default_data = config.split_seed == 0 and config.dataset.train_size is None
    # Given weights may come from a run that was trained on some of the validation images.
    return has_default_data and config.init_from is None


def _beats(record: Record, current: ModelVersion | None) -> bool:
    """Return whether a run beats the champion on the same images by the same metric.

    If there is no champion, the result is True. If they are not comparable, it is False.
    """
    if current is None:
        return True
    if _basis_of_version(current) != _basis_of_run(record):
        return False
    return _score_of_run(record) > _score_of_version(current)


def _basis_of_version(version: ModelVersion) -> tuple[str | None, str]:
    """Return what must be equal in comparable results.

    This is the digest of the validation images, and the definition of the metric.
    """
    return version.tags.get("validation_digest"), version.tags.get(METRIC, definition({}))


def _basis_of_run(record: Record) -> tuple[str | None, str]:
    return record.data_digests["validation"], definition(params(record.config))


def _score_of_version(version: ModelVersion) -> float:
    """Return a version's metric, negative if smaller is better.

    The score is minus infinity if another program registered the version.
    """
    return float(version.tags.get(SCORE, version.tags.get("best_val_accuracy", "-inf")))


def _score_of_run(record: Record) -> float:
    """Return a run's metric, negative if smaller is better."""
    return record.metric.sign * (record.value or 0.0)
