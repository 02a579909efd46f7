"""The Python API: `lenet_exp.compose`, `lenet_exp.train`, `lenet_exp.compare`, `lenet_exp.load`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lenet_exp.compare import compare
from lenet_exp.config.compose import compose, typed
from lenet_exp.config.schema import Config

if TYPE_CHECKING:
    from lenet_exp.run import RunResult
    from lenet_exp.training.lenet5 import LeNet5

__all__ = ["compare", "compose", "load", "train"]


def train(config: Config | dict[str, Any] | list[str]) -> RunResult:
    """Trains one configuration as `lenet-train` does: run folder, MLflow, result.

    Args:
        config: from `compose`, a dict of its form, or overrides such as `["dataset=digits", "num_epoch=10"]`.

    Raises:
        UserError: the configuration is wrong, or the data or the store can't be used.
    """
    from lenet_exp.run import run

    if isinstance(config, list):
        config = compose(config)
    return run(typed(config) if isinstance(config, dict) else config)


def load(model: str, *, tracking_uri: str | None = None) -> LeNet5:
    """The best network of a run, in eval mode on the CPU, its weights checked against the record's digest.

    Args:
        model: `runs:/<MLflow run id>`, a `.safetensors` file of `model_path`, a registered name such as `lenet5-mnist`
            (its champion), or `name@alias`.
        tracking_uri: the store; by default MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder.

    Raises:
        UserError: there is no such model, or its weights are not those of its record.
    """
    from lenet_exp.tracking.load import load_model
    from lenet_exp.tracking.store import default_uri

    return load_model(model, tracking_uri or default_uri(), dataset="").network
