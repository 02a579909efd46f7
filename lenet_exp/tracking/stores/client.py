"""MLflow's client, whose errors are MLflow's own also where a server answers what no MLflow would."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from lenet_exp.errors import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient


def client_of(mlflow: ModuleType, uri: str) -> MlflowClient:
    """A client of the store at `uri`."""
    return cast("MlflowClient", _Client(mlflow.MlflowClient(tracking_uri=uri)))


class _Client:
    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return functools.partial(_called, value) if callable(value) else value


def _called(method: Any, *arguments: Any, **more: Any) -> Any:
    """Raises:
    MlflowException: also where the answer has another shape than MLflow's.
    """
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException

    try:
        return method(*arguments, **more)
    except ParseError as e:
        raise MlflowException(f"its answer is not one of an MLflow server: {first_line(e)}") from e
