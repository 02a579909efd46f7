"""Uploads the best model of a run to MLflow as a logged model.

The logged model contains these files:

weights.safetensors   for this program (logged.py): tensors, and the record as metadata, as in
                      `model_path`
data/model.pt2, ...   for serving by MLflow, with a signature and a dynamic batch size; absent if
                      torch cannot export the network
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lenet_exp.config.class_groups import TARGET, is_own, option_name
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import LENET5, Config
from lenet_exp.files import write_atomic
from lenet_exp.folders.records import Record, record_to_json
from lenet_exp.tracking.stores.store import Store
from lenet_exp.training.trained.weights import Arrays, save_arrays

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

WEIGHTS = "weights.safetensors"
DATA = "data"
EXPORTED = f"{DATA}/model.pt2"
# number of images in the example; a single image would fix the exported batch size at 1
EXAMPLE_SIZE = 2


def log_model(
    weights: Arrays, record: Record, store: Store, run_id: str, *, export: Callable[[], bytes]
) -> str:
    """Upload a run's best weights as a logged model, and return the ID of the logged model.

    If a crash interrupted an earlier upload, complete that upload.

    Args:
        export: function that returns a `.pt2` archive of the network with these weights; empty if
            torch cannot export the network.
    """
    from mlflow.entities import LoggedModelStatus

    models = store.client.search_logged_models(
        [store.experiment_id], f"source_run_id = '{run_id}'", max_results=1
    )
    if models:
        model = models[0]
        if model.status == LoggedModelStatus.READY and has_files(store, model.model_id):
            return model.model_id
    else:
        model = _create(record, store, run_id)

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        path.mkdir()
        archive = export()
        if archive:
            write_model_files(path, record.config, archive, model.model_id, run_id=run_id)

        metadata = {"record": json.dumps(record_to_json(record))}
        save_arrays(path / WEIGHTS, weights, metadata)
        store.client.log_model_artifacts(model.model_id, str(path))

    store.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model.model_id


def has_files(store: Store, model_id: str) -> bool:
    """Return whether the store contains the files of a logged model."""
    files = store.client.list_logged_model_artifacts(model_id)
    return any(Path(file.path).name == WEIGHTS for file in files)


def link_model(store: Store, run_id: str, model_id: str, record: Record) -> None:
    """Record a logged model as the output of an MLflow run.

    This comes after all other uploads for the model. If the output is already recorded, do nothing,
    because MLflow rejects a second attempt.
    """
    from mlflow.entities import LoggedModelOutput

    outputs = store.client.get_run(run_id).outputs
    model_outputs = outputs.model_outputs if outputs else []
    if any(output.model_id == model_id for output in model_outputs):
        return

    output = LoggedModelOutput(model_id, step=record.best_epoch or 0)
    store.client.log_outputs(run_id, [output])


def registered_name(dataset: str, config: Config | None = None) -> str:
    """Return the name under which MLflow registers a dataset's models, such as `lenet5-mnist`.

    The user's own classes are registered under their path, because different classes can have the
    same name. Characters that MLflow rejects are replaced with `_`. If the metric is not accuracy,
    its name follows.

    Args:
        config: configuration with the network and the metric; by default, LeNet-5 and accuracy.
    """
    if config is None:
        model = LENET5
        metric = Metric()
    else:
        model = config.model
        metric = Metric.of(config.metric)

    target = str(model[TARGET])
    network = target if is_own(target) else option_name(model)
    name = re.sub(r"[^\w-]", "_", network)
    if metric.is_accuracy:
        return f"{name}-{dataset}"
    return f"{name}-{dataset}-{metric.name}"


def write_model_files(
    path: Path, config: Config, archive: bytes, model_id: str, run_id: str
) -> None:
    """Create the folder from which MLflow serves a model.

    It contains the exported network, its signature, and an input example. The contents are the same
    as those from `mlflow.pytorch.save_model`, except for the exported network. This function does
    not import torch.

    Args:
        archive: the exported network; see `exporter.export_model`.

    Raises:
        OSError: the folder cannot be written to, for example because the disk is full.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    mlflow_version = tuple(map(int, mlflow.__version__.split(".")[:2]))
    if mlflow_version < (3, 17):
        # After saving, MLflow 3.11 would enable tracing and create a store in the working
        # directory.
        mlflow.tracing.disable()

    shape = ImageShape.of(config.dataset)
    torch_version = version("torch")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), shape.batch(-1))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, shape.num_classes))]),
    )
    requirements = [
        f"mlflow=={mlflow.__version__}",
        f"torch=={torch_version.partition('+')[0]}",
        "numpy",
    ]
    model = Model(run_id=run_id, model_id=model_id)
    mlflow.pyfunc.save_model(
        str(path),
        loader_module="mlflow.pytorch",
        model_config={"device": None},
        uv_project_path=path,  # by default, MLflow would copy uv's files from the working directory
        mlflow_model=model,
        signature=signature,
        input_example=np.zeros(shape.batch(EXAMPLE_SIZE), np.float32),
        pip_requirements=requirements,
    )

    write_atomic(path / EXPORTED, archive)
    model.flavors[mlflow.pyfunc.FLAVOR_NAME][mlflow.pyfunc.DATA] = DATA
    model.add_flavor("pytorch", model_data=DATA, pytorch_version=torch_version, code=None)
    model.model_size_bytes = (model.model_size_bytes or 0) + len(archive)
    model.save(str(path / "MLmodel"))


def _create(record: Record, store: Store, run_id: str) -> LoggedModel:
    return store.client.create_logged_model(
        store.experiment_id,
        name=registered_name(record.dataset, record.config),
        source_run_id=run_id,
        params=record.params,
        tags={"fingerprint": record.fingerprint, "weights_digest": record.weights_digest or ""},
        model_type="classifier",
    )
